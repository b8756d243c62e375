// Named network namespaces for the floor program, and the small files around them.
//
// Guarantees: errors are errno values, 0 for success; the calling thread is back in its first namespace whenever
// Leave() has returned 0.
// Limits: one thread; root over the namespace the program was started in.
#ifndef CLEAT_BENCH_FLOOR_NETNS_H_
#define CLEAT_BENCH_FLOOR_NETNS_H_

#include <string>

namespace floor_bench {

// Makes a namespace and pins it at `path` (exclusive placeholder, unshare, sysctls, bind mount). The thread STAYS
// inside, for sockets to be opened there; call NetnsLeave() next.
int NetnsEnterNew(const std::string& path);
// Returns to the namespace that `home` refers to.
int NetnsLeave(int home);
// Returns a descriptor of the namespace the thread is in, or -1.
int NetnsCurrent();
// Unmounts lazily, then unlinks, as `ip netns del` does.
int NetnsRemove(const std::string& path);

int FileWrite(const std::string& path, const std::string& text);
// Writes beside and renames: this is what a snapshot on disk costs without fsync.
int FileReplace(const std::string& path, const std::string& text);

}  // namespace floor_bench

#endif  // CLEAT_BENCH_FLOOR_NETNS_H_
