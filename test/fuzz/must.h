// must.h: how a fuzz target reports a wrong result that no sanitizer would notice.
//
// Guarantees: the condition and its place are on stderr, and the process ends as libFuzzer expects of a crash.
#pragma once

#include <cstdio>
#include <cstdlib>

#define MUST(condition)                                                          \
  do {                                                                           \
    if (condition) break;                                                        \
    std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
    std::abort();                                                                \
  } while (false)
