// One end of a WebRTC call, run by record.py: `node peer.mjs STACK MEDIA CONFIGURATION`, the last one as JSON, as the W3C
// has it. Commands come as lines of JSON on stdin (`offer`, `restart`, or a message from the other end); events go out as
// lines on stdout: `version`, `say`, `open`, `restarted`, `error`.
// Needs the packages of the stack in ./node_modules of the current folder, or a browser in CHROMIUM or FIREFOX.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [stack, media] = process.argv.slice(2);
const configuration = JSON.parse(process.argv[4]);
const require = createRequire(`${process.cwd()}/`);
const versionOf = (name) => JSON.parse(readFileSync(`node_modules/${name}/package.json`)).version;
const put = (event) => process.stdout.write(`${JSON.stringify(event)}\n`);
const FAKE_MEDIA = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"];
const say = (message) => put({ say: message });
const failed = (fault) => put({ error: String(fault?.stack ?? fault) });

// What a page does, and werift, whose class is the same. Serialized into the browser: it may use nothing from outside.
async function standard(RTC, emit, media, configuration, tracks) {
  const pc = new RTC(configuration);
  let channel, heard = 0;
  const opened = (made) => {
    channel = made;
    channel.onmessage = () => ++heard;
    channel.onopen = () => emit({ open: true });
    if (channel.readyState === "open") emit({ open: true });
  };
  if (media === "av") pc.onconnectionstatechange = () => pc.connectionState === "connected" && emit({ open: true });
  else pc.ondatachannel = (event) => opened(event.channel);
  pc.onicecandidate = ({ candidate }) =>
    emit({ say: { type: "candidate", candidate: candidate ? (candidate.toJSON?.() ?? candidate) : null } });
  if (media === "av") await tracks(pc);
  const described = async (kind, options) => {
    await pc.setLocalDescription(kind === "offer" ? await pc.createOffer(options) : await pc.createAnswer());
    emit({ say: { type: kind, sdp: pc.localDescription.sdp } });
  };
  // Browsers stay connected with the old pair until checks of the new generation succeed; werift does not.
  const checked = async () => {
    if (!["connected", "completed"].includes(pc.iceConnectionState)) return false;
    if (typeof window === "undefined") return true;
    const [, ufrag] = /a=ice-ufrag:(\S+)/.exec(pc.localDescription.sdp);
    const stats = new Map([...(await pc.getStats()).values()].map((each) => [each.id, each]));
    const pairs = [...stats.values()].filter((each) => each.type === "candidate-pair" && each.state === "succeeded");
    return pairs.some((pair) => stats.get(pair.localCandidateId)?.usernameFragment === ufrag);
  };
  let exchanges = 0;
  const watched = async () => {
    if (++exchanges < 2) return;
    const before = heard;
    while (!(await checked()) || (channel && heard === before)) {
      channel?.send("after the restart");
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    channel?.send("after the restart");
    emit({ restarted: true });
  };
  return async (command) => {
    if (command.do === "offer" || command.do === "restart") {
      if (media === "dc" && command.do === "offer") opened(pc.createDataChannel("x"));
      await described("offer", { iceRestart: command.do === "restart" });
    } else if (command.type === "candidate") await pc.addIceCandidate(command.candidate ?? undefined);
    else {
      await pc.setRemoteDescription({ type: command.type, sdp: command.sdp });
      if (command.type === "offer") await described("answer");
      void watched();
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
    window.take = await (${standard})(RTCPeerConnection, window.emit, ${JSON.stringify(media)}, ${JSON.stringify(configuration)}, tracks);
  })()`);
  put({ version: version.replace(/^\w+\//, "") });
  return (command) => tab.evaluate(`window.take(${JSON.stringify(command)})`);
}

async function werift() {
  const { RTCPeerConnection } = require("werift");
  put({ version: versionOf("werift") });
  const tracks = (pc) => ["audio", "video"].map((kind) => pc.addTransceiver(kind, { direction: "sendrecv" }));
  // With an empty list it asks a public STUN server.
  const iceServers = configuration.iceServers.length ? configuration.iceServers : [{ urls: "stun:127.0.0.1:9" }];
  return standard(RTCPeerConnection, put, media, { ...configuration, iceServers }, tracks);
}

// It sends packets that a program made: the description alone needs no encoder. It answers with the tracks of the offer.
function tracks(ndc) {
  const audio = new ndc.Audio("0", "SendRecv");
  audio.addOpusCodec(111);
  audio.addSSRC(1, "cname", "stream", "audio");
  const video = new ndc.Video("1", "SendRecv");
  video.addVP8Codec(96);
  video.addSSRC(2, "cname", "stream", "video");
  return [audio, video];
}

async function nodeDataChannel() {
  const ndc = require("node-datachannel");
  put({ version: `${versionOf("node-datachannel")} (${ndc.getLibraryVersion()})` });
  const iceServers = configuration.iceServers.map(({ urls, username, credential }) => {
    const [, hostname, port] = /^turn:([^:]+):(\d+)/.exec(urls);
    return { hostname, port: Number(port), username, password: credential, relayType: "TurnUdp" };
  });
  const pc = new ndc.PeerConnection("x", { ...configuration, iceServers, disableAutoNegotiation: true });
  const opened = (channel) => channel.onOpen(() => put({ open: true }));
  const kept = []; // a channel or track without a reference is collected
  if (media === "av") {
    pc.onStateChange((state) => state === "connected" && put({ open: true }));
    pc.onTrack((track) => kept.push(track));
  }
  pc.onLocalDescription((sdp, type) => say({ type, sdp }));
  pc.onLocalCandidate((candidate, sdpMid) => say({ type: "candidate", candidate: { candidate, sdpMid } }));
  pc.onDataChannel((channel) => kept.push(channel) && (channel.isOpen() ? put({ open: true }) : opened(channel)));
  return async (command) => {
    if (command.do === "offer") {
      if (media === "av") kept.push(...tracks(ndc).map((track) => pc.addTrack(track)));
      else {
        kept.push(pc.createDataChannel("x"));
        opened(kept[0]);
      }
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
