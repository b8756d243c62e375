// request.h: what the daemon asks of the forwarder, and what it is answered: one line of JSON each way.
//
//   {"op":"change","remove":[{owner,protocol,host_ip,host_port}],
//    "add":[{owner,protocol,host_ip,host_port,netns,dev,ino,address,container_port}],
//    "bound":[{owner,"to":[{pid,start_time}]}]}
//     -> {"ok":true,"source_kept":[true,...]}      in the order of add
//     What an owner has ends with the last of the processes that it is bound to (bond.h); bound to none, by request
//     alone. `bound` may be left out: then each is bound as before. It is refused (ESRCH) when all of them have ended.
//   {"op":"list"} or {"op":"list","owner":...}      of all owners, or of one
//     -> {"ok":true,"pid":N,"rules":[...],"owners":[{owner,connections,flows,bound_to}],"limits":{...}}
//   {"op":"limits","connections":N,"flows":N,"flow_idle":N,"half_closed":N} -> {"ok":true}      (budget.h)
//     each of them may be left out: then it is as if it had never been told. What is held already stays.
//   {"op":"who"} -> {"ok":true,"pid":N,"rules":N}
//   anything that was refused -> {"ok":false,"error":{"message","errno","syscall","owner","protocol","host_ip",
//     "host_port"}}, what does not apply left out; nothing was changed then.
//
// Lines on a stream, because one change may name every port there is: no datagram would take it.
//
// Guarantees: ReadRequest is a pure function of (data, size). What it accepts is complete: known protocols, literal
// addresses, ports in range, absolute paths; no member that it does not know, which a newer daemon might mean something
// by. Limits: kMaxRequest bytes, about 60,000 ports.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "budget.h"
#include "endpoint.h"

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

// A process as it cannot be mistaken: field 22 of /proc/pid/stat beside its pid.
struct Process {
  pid_t pid = 0;
  int64_t start_time = 0;
};

struct Binding {
  std::string owner;
  std::vector<Process> to;
};

struct Request {
  enum class Op { kChange, kLimits, kList, kWho };

  Op op = Op::kWho;
  std::string owner;  // of a list, empty for all
  Limits limits;
  std::vector<Removal> remove;
  std::vector<Addition> add;
  std::vector<Binding> bound;
};

// Why it is none; empty when `out` is complete.
std::string ReadRequest(const char* data, size_t size, Request* out);

struct Refusal {
  std::string message;
  int error = 0;        // errno, 0 for none
  std::string syscall;  // what failed
  std::string owner;    // who has what was asked for
  const Key* key = nullptr;
};

std::string Refuse(const Refusal& refusal);

// "protocol":"tcp","host_ip":"0.0.0.0","host_port":80
std::string KeyMembers(const Key& key);

}  // namespace cleat_forwarder
