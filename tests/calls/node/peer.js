// The other end of a call: node-datachannel (libdatachannel), and the wire by hand, length-prefixed, over node:net.
// Answers whoever offers. Says on stdout how far it is, as ../aiortc_peer.py does, and sends on what comes on stdin.
"use strict";

const net = require("node:net");
const readline = require("node:readline");
const { PeerConnection, cleanup } = require("node-datachannel");

const [port, id] = process.argv.slice(2);
const say = (...words) => console.log(...words);

// -- the wire (protocol.md, section 2)

const socket = net.connect(Number(port), "127.0.0.1", () => send({ type: "register", id }));
socket.setNoDelay(true);

function send(message) {
  const body = Buffer.from(JSON.stringify(message));
  const head = Buffer.alloc(4);
  head.writeUInt32BE(body.length);
  socket.write(Buffer.concat([head, body]));
}

let rest = Buffer.alloc(0);
socket.on("data", (chunk) => {
  rest = Buffer.concat([rest, chunk]);
  while (rest.length >= 4 && rest.length >= 4 + rest.readUInt32BE(0)) {
    const end = 4 + rest.readUInt32BE(0);
    hear(JSON.parse(rest.subarray(4, end).toString()));
    rest = rest.subarray(end);
  }
});
socket.on("error", () => {}); // the daemon is stopped once we are connected: no reason to stop, too
socket.on("close", () => say("signaling ended"));

// -- the call

let other, connection, channel;

function hear(message) {
  switch (message.type) {
    case "registered":
      say("registered");
      break;
    case "offer":
      say("got offer");
      other = message.from;
      answer(message.sdp);
      break;
    case "candidate":
      if (message.candidate === null) say("got end-of-candidates");
      else {
        say("got candidate", message.candidate.candidate.split(" ")[4]);
        connection.addRemoteCandidate(message.candidate.candidate, message.candidate.sdpMid);
      }
      break;
    case "ping":
      send({ type: "pong" });
      break;
    case "bye":
      say("got bye");
      break;
    case "error":
      say("error", message.code);
  }
}

function answer(sdp) {
  connection = new PeerConnection(id, { iceServers: [], bindAddress: "127.0.0.1" }); // nothing leaves the machine
  connection.onLocalDescription((sdp, type) => {
    send({ type, to: other, sdp });
    say("sent", type);
  });
  connection.onLocalCandidate((candidate, sdpMid) => {
    send({ type: "candidate", to: other, candidate: { candidate, sdpMid } });
    say("sent candidate", candidate.split(" ")[4]);
  });
  connection.onGatheringStateChange((state) => {
    if (state !== "complete") return;
    send({ type: "candidate", to: other, candidate: null });
    say("sent end-of-candidates");
  });
  connection.onDataChannel((opened) => {
    channel = opened;
    channel.onMessage((text) => say("heard", text));
    say("connected");
  });
  connection.setRemoteDescription(sdp, "offer");
}

const input = readline.createInterface({ input: process.stdin });
input.on("line", (line) => channel.sendMessage(line));
input.on("close", () => {
  connection?.close();
  socket.destroy();
  cleanup();
});
