// udp-socket.h: a UDP socket in another network namespace, as the Outside's method udpSocket.
//
// Guarantees: the socket stays in the namespace it was made in, and keeps that alive; it is closed on exec and does not
// block. From when the promise resolves it is the caller's, and his to close.
// Limits: not bound: node's dgram does not insist (uv_guess_handle goes by family and type), and the kernel gives it a
// port when it first sends. Until then nothing can be received.
#pragma once

#include <napi.h>

#include "worker.h"

namespace cleat {

Napi::Value UdpSocket(const Napi::CallbackInfo& info, Worker& worker);

}  // namespace cleat
