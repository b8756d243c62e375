# What capture.py hears of: links of each kind, addresses, routes, a table with everything cleat puts into one, tracked
# connections. Runs in a network namespace of its own; made here and kept, so that the dumps that follow find it.
set -e
ip link add name br0 type bridge
ip link add name v0 type veth peer name v1
ip link set v0 master br0 alias 'of a container' group 7 up
ip link set v1 address 02:00:5e:10:00:01 mtu 1400 up
ip link set br0 up
ip link add name going type veth peer name gone
ip link del going
ip address add 10.9.0.1/24 dev br0
ip address add fd00:9::1/64 dev br0 nodad
ip address add 10.9.1.1 peer 10.9.1.2 dev v1
ip route add default via 10.9.0.254 metric 10
ip route add 10.10.0.0/16 via inet6 fd00:9::2 dev br0
ip route add blackhole 10.11.0.0/16 table 77
ip -6 route add fd00:a::/64 via fd00:9::2
ip route del blackhole 10.11.0.0/16 table 77
ip neighbour add 10.9.0.9 lladdr 02:00:5e:10:00:02 dev br0
nft -f - <<'RULES'
table inet watched {
  set ports { type inet_proto . inet_service; elements = { tcp . 80 comment "web", udp . 53 } }
  set names { type ifname; elements = { "br0", "v0" } }
  set marks { type mark; elements = { 7 } }
  map to4 { type inet_proto . inet_service : ipv4_addr . inet_service; elements = { tcp . 80 comment "c1" : 10.9.0.5 . 8080 } }
  map to6 { type ipv6_addr . inet_service : ipv6_addr; elements = { fd00:9::1 . 80 : fd00:9::5 } }
  map verdicts { type ifname : verdict; elements = { "br0" : jump rules, "v0" : drop } }
  chain rules { counter accept comment "counted"; }
  chain hooked { type filter hook output priority 0; policy accept; ct state new counter; iifname vmap @verdicts; }
}
table inet other {
  chain c { drop; }
}
RULES
nft delete rule inet watched rules handle "$(nft -a list chain inet watched rules | sed -n 's/.*# handle //p' | tail -1)"
nft add rule inet watched rules counter drop comment '"again"'
nft add element inet watched ports '{ tcp . 443 }'
nft delete table inet other
python3 -c '
import socket
for address, family in (("10.9.0.1", socket.AF_INET), ("fd00:9::1", socket.AF_INET6)):
    taker = socket.socket(family, socket.SOCK_DGRAM)
    taker.bind((address, 0))
    socket.socket(family, socket.SOCK_DGRAM).sendto(b"x", taker.getsockname())
'
