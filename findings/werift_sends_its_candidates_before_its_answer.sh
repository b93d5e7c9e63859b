#!/bin/sh
# Question: a program answers as every example does: await setLocalDescription(answer), then send pc.localDescription; it
# sends each event.candidate as it comes. Does the answer leave before the candidates?
# Obvious guess: yes, as in browsers, where gathering begins once the answer is set.
# What happens: in werift setLocalDescription resolves only when gathering has ended, so all candidates, and the null that
# ends them, leave before the answer. node-datachannel, Chromium and Firefox throw at a candidate for which they have no
# remote description. The call connects all the same, for werift's answer has its candidates inside.
# Packages: werift 0.24.4, node-datachannel 0.33.4 (npm), Node.js 20.
# Who meets it: authors of signaling that keeps the order of messages, and of clients that take a throwing
# addIceCandidate for the end of the call.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-fund --no-audit werift@0.24.4 node-datachannel@0.33.4 >/dev/null
cat > order.cjs <<'NODE'
const { RTCPeerConnection } = require("werift");
const ndc = require("node-datachannel");
const version = (name) => JSON.parse(require("fs").readFileSync(`node_modules/${name}/package.json`)).version;

const caller = new ndc.PeerConnection("caller", { iceServers: [], disableAutoNegotiation: true });
// Nothing listens at that port; with an empty list werift asks a public server.
const pc = new RTCPeerConnection({ iceServers: [{ urls: "stun:127.0.0.1:9" }] });
const order = [];
let thrown = "";
pc.onicecandidate = ({ candidate }) => {
  order.push(candidate ? "candidate" : "end");
  try {
    if (candidate) caller.addRemoteCandidate(candidate.candidate, candidate.sdpMid);
  } catch (fault) {
    thrown = fault.message;
  }
};
caller.onLocalDescription(async (sdp, type) => {
  await pc.setRemoteDescription({ type, sdp });
  await pc.setLocalDescription(await pc.createAnswer());
  order.push("answer");
  const inside = pc.localDescription.sdp.includes("a=candidate:");
  console.log(`werift ${version("werift")}, node-datachannel ${version("node-datachannel")}`);
  console.log(`left in this order: ${order.join(", ")}; candidates inside the answer: ${inside}`);
  console.log(`node-datachannel at the first: ${thrown}`);
  const first = order.indexOf("candidate");
  const same = first >= 0 && first < order.indexOf("answer") && order.at(-1) === "answer" && inside;
  process.exit(same && thrown.includes("without remote description") ? 0 : 1);
});
const kept = caller.createDataChannel("x"); // a channel that nobody holds is collected
caller.setLocalDescription("offer");
setTimeout(() => kept && process.exit(1), 30000);
NODE
node order.cjs
