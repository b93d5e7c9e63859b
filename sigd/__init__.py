"""sigd, a WebRTC signaling daemon.

Reading order, after wire/errors, wire/messages and wire/said (the map of the protocol):

1. Frames: wire/framing, wire/commands, wire/telnet; wire/salvage (faulty frames), text (characters that do not show).
2. Rules: relay/ledger (what all links share), relay/link with relay/transport and relay/outbox, relay/registry,
   relay/router; relay/access, relay/credentials (identity), relay/objections (their faults); relay/admission with
   relay/lobby, relay/origins, relay/strikes, relay/rates.
3. Strangers and memory: relay/strangers (places), relay/buffers and relay/shedding (bytes), rules/memory (limits
   against the control group).
4. Time: wire/times, wire/awake and net/clock (sleep), relay/deadlines with relay/timeouts, relay/wall and relay/expiry
   (wall clock), server/timekeeping.
5. Sockets: net/rounds, net/stream on net/socket_link, net/reactor, net/turns with relay/chores (fairness),
   net/entrance, wire/opening with net/handshakes, net/kernel.
6. Datagrams: wire/datagram with wire/sending and wire/receiving, wire/greeting, net/udp with net/used_cookies,
   net/datagram_link, and net/dtls beside them.
7. The daemon: server (puts it together), cli; toml (a library), config, rules (the configuration with its files). As a
   service: server/systemd, server/service, server/restarting with net/handover and net/arrival.
8. Failed calls: relay/record with relay/refusals and relay/noting; why (sdp, candidates and addresses read; flaws,
   detectors, described and trickling judge; ladder draws).
9. Questions: admin (the language of the admin socket), control (answers there), ctl (sigctl; setup, check and units
   for servers), metrics, log.
10. client, for programs in Python.

Imports go one way: wire <- relay <- net <- server <- cli; client uses wire alone, and so does config.
"""

__version__ = "0.1.0"
