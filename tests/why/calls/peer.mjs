// One end of a WebRTC call, run by record.py: `node peer.mjs STACK MEDIA`. Commands come as lines of JSON on stdin
// (`offer`, or a message from the other end); events go out as lines on stdout: `version`, `say`, `open`, `error`.
// Needs the packages of the stack in ./node_modules of the current folder, or a browser in CHROMIUM or FIREFOX.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [stack, media] = process.argv.slice(2);
const require = createRequire(`${process.cwd()}/`);
const versionOf = (name) => JSON.parse(readFileSync(`node_modules/${name}/package.json`)).version;
const put = (event) => process.stdout.write(`${JSON.stringify(event)}\n`);
const FAKE_MEDIA = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"];
const say = (message) => put({ say: message });
const failed = (fault) => put({ error: String(fault?.stack ?? fault) });

// What a page does, and werift, whose class is the same. Serialized into the browser: it may use nothing from outside.
async function standard(RTC, emit, media, iceServers, tracks) {
  const pc = new RTC({ iceServers });
  const opened = (channel) => {
    channel.onopen = () => emit({ open: true });
    if (channel.readyState === "open") emit({ open: true });
  };
  if (media === "av") pc.onconnectionstatechange = () => pc.connectionState === "connected" && emit({ open: true });
  else pc.ondatachannel = (event) => opened(event.channel);
  pc.onicecandidate = ({ candidate }) =>
    emit({ say: { type: "candidate", candidate: candidate ? (candidate.toJSON?.() ?? candidate) : null } });
  if (media === "av") await tracks(pc);
  const described = async (kind) => {
    await pc.setLocalDescription(kind === "offer" ? await pc.createOffer() : await pc.createAnswer());
    emit({ say: { type: kind, sdp: pc.localDescription.sdp } });
  };
  return async (command) => {
    if (command.do === "offer") {
      if (media === "dc") opened(pc.createDataChannel("x"));
      await described("offer");
    } else if (command.type === "candidate") await pc.addIceCandidate(command.candidate ?? undefined);
    else {
      await pc.setRemoteDescription({ type: command.type, sdp: command.sdp });
      if (command.type === "offer") await described("answer");
    }
  };
}

async function page() {
  const puppeteer = require("puppeteer-core");
  const isFirefox = stack === "firefox";
  const browser = await puppeteer.launch({
    browser: isFirefox ? "firefox" : "chrome",
    executablePath: process.env[isFirefox ? "FIREFOX" : "CHROMIUM"] ?? (isFirefox ? "/usr/bin/firefox-esr" : "/usr/bin/chromium"),
    headless: true,
    // A page that may use camera and microphone shows its addresses; one that asks for neither hides them.
    args: isFirefox ? [] : media === "av" ? ["--no-sandbox", ...FAKE_MEDIA] : ["--no-sandbox"],
    extraPrefsFirefox: { "media.navigator.permission.disabled": true, "media.navigator.streams.fake": true },
  });
  process.on("exit", () => browser.process()?.kill());
  const server = createServer((_, response) => response.setHeader("content-type", "text/html").end("<p>call"));
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const tab = await browser.newPage();
  await tab.goto(`http://127.0.0.1:${server.address().port}/`);
  await tab.exposeFunction("emit", put);
  const version = await browser.version();
  await tab.evaluate(`(async () => {
    const tracks = async (pc) => {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: true });
      for (const track of stream.getTracks()) pc.addTrack(track, stream);
    };
    window.take = await (${standard})(RTCPeerConnection, window.emit, ${JSON.stringify(media)}, [], tracks);
  })()`);
  put({ version: version.replace(/^\w+\//, "") });
  return (command) => tab.evaluate(`window.take(${JSON.stringify(command)})`);
}

async function werift() {
  const { RTCPeerConnection } = require("werift");
  put({ version: versionOf("werift") });
  const tracks = (pc) => ["audio", "video"].map((kind) => pc.addTransceiver(kind, { direction: "sendrecv" }));
  // With an empty list it asks a public STUN server.
  return standard(RTCPeerConnection, put, media, [{ urls: "stun:127.0.0.1:9" }], tracks);
}

async function nodeDataChannel() {
  const ndc = require("node-datachannel");
  put({ version: `${versionOf("node-datachannel")} (${ndc.getLibraryVersion()})` });
  const pc = new ndc.PeerConnection("x", { iceServers: [], disableAutoNegotiation: true });
  const opened = (channel) => channel.onOpen(() => put({ open: true }));
  const kept = []; // a channel that nobody holds is collected
  pc.onLocalDescription((sdp, type) => say({ type, sdp }));
  pc.onLocalCandidate((candidate, sdpMid) => say({ type: "candidate", candidate: { candidate, sdpMid } }));
  pc.onDataChannel((channel) => kept.push(channel) && (channel.isOpen() ? put({ open: true }) : opened(channel)));
  return async (command) => {
    if (command.do === "offer") {
      kept.push(pc.createDataChannel("x"));
      opened(kept[0]);
      pc.setLocalDescription("offer");
    } else if (command.type === "candidate") {
      if (command.candidate?.candidate) pc.addRemoteCandidate(command.candidate.candidate, command.candidate.sdpMid ?? "0");
    } else {
      pc.setRemoteDescription(command.sdp, command.type);
      if (command.type === "offer") pc.setLocalDescription("answer");
    }
  };
}

const make = { chromium: page, firefox: page, werift, "node-datachannel": nodeDataChannel }[stack];
let turn = make().catch(failed);
for await (const line of createInterface({ input: process.stdin })) {
  turn = turn.then(async (take) => {
    await take(JSON.parse(line)).catch(failed);
    return take;
  });
}
process.exit(0);
