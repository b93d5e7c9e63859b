"""sigd, a WebRTC signaling daemon.

Reading order: wire/errors, wire/messages and wire/said (the map of the protocol), wire/framing, wire/commands;
relay/link, relay/registry, relay/router (the rules), relay/access (who may be whom), relay/limits; net/stream,
net/reactor, net/turns (sockets), net/clock and relay/wall (time); server (puts it together), config, cli. Datagrams:
wire/datagram with wire/sending and wire/receiving, wire/greeting, net/udp, net/datagram_link, and net/dtls beside them.
As a service: systemd, server/service, server/restarting with net/handover; relay/record and why (why a call failed),
control (what is asked), ctl (sigctl, who asks), metrics, log.
Imports go one way: wire <- relay <- net <- server <- cli; client uses wire alone, and config uses none of them.
"""

__version__ = "0.1.0"
