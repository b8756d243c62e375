// request.h: the daemon's requests to the forwarder, and their answers: one line of JSON each way.
//
//   {"op":"change","remove":[{owner,protocol,host_ip,host_port}],
//    "add":[{owner,protocol,host_ip,host_port,netns,dev,ino,address,container_port}],
//    "bound":[{owner,"to":[{pid,start_time,"exit":{...}}]}]}
//     -> {"ok":true,"source_kept":[true,...]}      in the order of add
//     `to` has a member for each container of the owner's namespace: it ends with its process, or with `exit`, the
//     first of the two; one of them may be left out. `exit` is another process, {pid,start_time}, or the read end of a
//     pipe, which ends when nobody has the write end: {pid,start_time,fd,dev,ino} say where it is and how to recognise
//     it. Everything of an owner ends with the last of its containers (bond.h); without any, only by request. `bound`
//     may be left out: then each owner is bound as before. A change is refused (ESRCH) if all the containers of a
//     binding have ended.
//   {"op":"list"} or {"op":"list","owner":...}      of all owners, or of one
//     -> {"ok":true,"pid":N,"rules":[...],"owners":[{owner,connections,flows,bound_to}],"limits":{...}}
//   {"op":"limits","connections":N,"flows":N,"flow_idle":N,"half_closed":N} -> {"ok":true}      (budget.h)
//     A limit that is left out gets its default. What is held already stays.
//   {"op":"who"} -> {"ok":true,"pid":N,"rules":N}
//   anything that was refused -> {"ok":false,"error":{"message","errno","syscall","owner","protocol","host_ip",
//     "host_port"}}, without the members that do not apply; nothing was changed then.
//
// Requests are lines on a stream, because one change may name every port there is: no datagram would hold it.
//
// Guarantees: ReadRequest is a pure function of (data, size). A request that it accepts is complete: known protocols,
// literal addresses, ports in range, absolute paths. It has no unknown member, by which a newer daemon might mean
// something. Limits: kMaxRequest bytes, about 60,000 ports.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "../budget.h"
#include "../endpoint.h"

namespace cleat_forwarder {

constexpr size_t kMaxRequest = size_t{16} << 20;

struct Removal {
  std::string owner;
  Key key;
};

struct Addition {
  std::string owner;
  Key key;
  std::string netns;
  uint64_t dev = 0;
  uint64_t ino = 0;
  Endpoint to;
};

// A process that cannot be mistaken for another: field 22 of /proc/pid/stat beside its pid.
struct Process {
  pid_t pid = 0;
  int64_t start_time = 0;
};

// The read end of a pipe: a descriptor of a process, and the inode that it must lead to.
struct PipeEnd {
  Process holder;
  int fd = 0;
  uint64_t dev = 0;
  uint64_t ino = 0;
};

// What a container ends with: the first of these. One of them is there.
struct Tie {
  std::vector<Process> processes;  // its own, and that of an exit descriptor that is a pidfd
  bool has_own = false;            // the first one is its own
  std::optional<PipeEnd> pipe;
};

struct Binding {
  std::string owner;
  std::vector<Tie> to;
};

struct Request {
  enum class Op { kChange, kLimits, kList, kWho };

  Op op = Op::kWho;
  std::string owner;  // for a list; empty for all
  Limits limits;
  std::vector<Removal> remove;
  std::vector<Addition> add;
  std::vector<Binding> bound;
};

// Returns why the line is no request; empty if `out` is complete.
std::string ReadRequest(const char* data, size_t size, Request* out);

struct Refusal {
  std::string message;
  int error = 0;        // errno, 0 for none
  std::string syscall;  // what failed
  std::string owner;    // the owner that has the requested port
  const Key* key = nullptr;
};

std::string Refuse(const Refusal& refusal);

// "protocol":"tcp","host_ip":"0.0.0.0","host_port":80
std::string KeyMembers(const Key& key);

}  // namespace cleat_forwarder
