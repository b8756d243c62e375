# Sends packets as a container can write them itself, past its own routes, to each ADDRESS,PORT: a TCP SYN, a UDP
# datagram and an ICMP echo, in frames out of LINK. Prints the answers: "tcp 127.0.0.1 80". A reset or an ICMP error is
# no answer.
import ipaddress, re, socket, struct, subprocess, sys, time

link, targets = sys.argv[1], [word.rsplit(",", 1) for word in sys.argv[2:]]
shown = subprocess.run(["ip", "-o", "addr", "show", "dev", link, "scope", "global"], capture_output=True, text=True).stdout
mine = {4 if family == "inet" else 6: ipaddress.ip_address(text) for family, text in re.findall(r"(inet6?) ([0-9a-f.:]+)/", shown)}
sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
sock.bind((link, 0))
sock.settimeout(0.05)
mac = sock.getsockname()[4]


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def packet(to, protocol, payload, at):
    source = mine[to.version]
    if to.version == 4:
        pseudo = source.packed + to.packed + struct.pack("!BBH", 0, protocol, len(payload))
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0) + source.packed + to.packed
        head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    else:
        pseudo = source.packed + to.packed + struct.pack("!IHBB", len(payload), 0, 0, protocol)
        head = struct.pack("!IHBB", 6 << 28, len(payload), protocol, 64) + source.packed + to.packed
    covered = payload if protocol == 1 else pseudo + payload
    payload = payload[:at] + struct.pack("!H", checksum(covered)) + payload[at + 2 :]
    kind = 0x0800 if to.version == 4 else 0x86DD
    return bytes.fromhex("525500000202") + mac + struct.pack("!H", kind) + head + payload


for i, (text, port) in enumerate(targets):
    to, port = ipaddress.ip_address(text), int(port)
    if to.version not in mine:
        continue
    own = 20000 + i
    sock.send(packet(to, 6, struct.pack("!HHIIBBHHH", own, port, 1, 0, 0x50, 2, 64000, 0, 0), 16))
    sock.send(packet(to, 17, struct.pack("!HHHH", own, port, 9, 0) + b"?", 6))
    echo = struct.pack("!BBHHH", 8 if to.version == 4 else 128, 0, 0, own, 1) + b"ping"
    sock.send(packet(to, 1 if to.version == 4 else 58, echo, 2))

answers, end = set(), time.monotonic() + 0.7
while time.monotonic() < end:
    try:
        frame = sock.recv(65536)
    except TimeoutError:
        continue
    kind = struct.unpack("!H", frame[12:14])[0]
    if kind == 0x0800:
        protocol, source, rest = frame[23], ipaddress.ip_address(frame[26:30]), frame[14 + (frame[14] & 15) * 4 :]
    elif kind == 0x86DD:
        protocol, source, rest = frame[20], ipaddress.ip_address(frame[22:38]), frame[54:]
    else:
        continue
    if source in mine.values() or not any(source == ipaddress.ip_address(text) for text, _ in targets):
        continue
    if protocol == 6 and rest[13] & 0x12 == 0x12:
        answers.add(f"tcp {source} {struct.unpack('!H', rest[:2])[0]}")
    if protocol == 17:
        answers.add(f"udp {source} {struct.unpack('!H', rest[:2])[0]}")
    if (protocol, rest[0]) in ((1, 0), (58, 129)):
        answers.add(f"icmp {source}")
print("\n".join(sorted(answers)))
