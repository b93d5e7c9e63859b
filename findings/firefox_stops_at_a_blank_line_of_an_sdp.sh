#!/bin/sh
# Question: an SDP has got a blank line on its way, pasted or joined from parts. Which stack minds?
# Obvious guess: all of them or none: a blank line is no line of SDP (RFC 8866).
# What happens: Firefox takes the offer without an error and stops to read at the blank line: the answer has no media
# section at all, and signaling goes on as if all were well. libdatachannel reads on and answers (so does aiortc, and
# Chromium throws; neither is shown here). A fingerprint in lower case is the other way round: Firefox throws,
# libdatachannel reads it (RFC 8122 wants upper case).
# Packages: Firefox ESR (Debian's firefox-esr, seen with 153.8.0), puppeteer-core 24.43.1, node-datachannel 0.33.4 (npm).
# Who meets it: people who paste SDP, and authors of devices whose fingerprints come from a library that prints lower case.
set -eu
firefox=$(command -v firefox-esr || command -v firefox) || { echo "needs firefox-esr"; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-fund --no-audit puppeteer-core@24.43.1 node-datachannel@0.33.4 >/dev/null
cat > blank.cjs <<'NODE'
const puppeteer = require("puppeteer-core");
const ndc = require("node-datachannel");

const offered = () =>
  new Promise((resolve) => {
    const pc = new ndc.PeerConnection("caller", { iceServers: [], disableAutoNegotiation: true });
    pc.onLocalDescription((sdp) => resolve(sdp) || pc.close());
    pc.createDataChannel("x");
    pc.setLocalDescription("offer");
  });
const byDatachannel = (sdp) =>
  new Promise((resolve) => {
    const pc = new ndc.PeerConnection("callee", { iceServers: [], disableAutoNegotiation: true });
    pc.onLocalDescription((answer) => resolve(`${answer.split("m=").length - 1} m= lines`) || pc.close());
    pc.setRemoteDescription(sdp, "offer");
    pc.setLocalDescription("answer");
  });

(async () => {
  const browser = await puppeteer.launch({ browser: "firefox", executablePath: process.argv[2], headless: true });
  const page = await browser.newPage();
  const byFirefox = (sdp) =>
    page.evaluate(async (sdp) => {
      const pc = new RTCPeerConnection();
      try {
        await pc.setRemoteDescription({ type: "offer", sdp });
        await pc.setLocalDescription(await pc.createAnswer());
        return `${pc.localDescription.sdp.split("m=").length - 1} m= lines`;
      } catch (fault) {
        return `${fault.name}: ${fault.message.trim()}`;
      }
    }, sdp);
  const sdp = await offered();
  const forms = {
    "as it is": sdp,
    "blank line after t=": sdp.replace("t=0 0\r\n", "t=0 0\r\n\r\n"),
    "fingerprint in lower case": sdp.replace(/(a=fingerprint:sha-256 )(.*)/, (_, name, hex) => name + hex.toLowerCase()),
  };
  const seen = {};
  console.log(await browser.version());
  for (const [name, text] of Object.entries(forms)) {
    seen[name] = [await byFirefox(text), await byDatachannel(text)];
    console.log(`${name}: answer of Firefox: ${seen[name][0]}; of libdatachannel: ${seen[name][1]}`);
  }
  await browser.close();
  const [plain, blank, lower] = Object.values(seen);
  const same = plain[0] === "1 m= lines" && blank[0] === "0 m= lines" && lower[0].includes("fingerprint");
  process.exit(same && [plain, blank, lower].every((each) => each[1] === "1 m= lines") ? 0 : 1);
})();
NODE
node blank.cjs "$firefox"
