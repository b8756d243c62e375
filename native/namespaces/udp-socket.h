// udp-socket.h: a UDP socket in another network namespace, as the Outside's method udpSocket.
//
// Guarantees: the socket stays in the namespace it was made in, and keeps that alive; it is closed on exec and does not
// block. Once the promise resolves, the caller owns it and has to close it.
// Limits: not bound: node's dgram does not require that (uv_guess_handle goes by family and type), and the kernel gives
// it a port when it first sends. Until then nothing can be received.
#pragma once

#include <napi.h>

#include "../node/worker.h"

namespace cleat {

Napi::Value UdpSocket(const Napi::CallbackInfo& info, Worker& worker);

}  // namespace cleat
