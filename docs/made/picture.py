"""A picture of the peers, the daemon between them, and its operator, as SVG.

Positions are numbers in this file, and the text is drawn by the reader's own font: no library is needed.
"""

from typing import Final, NamedTuple
from xml.sax.saxutils import escape

WIDTH: Final = 880
HEIGHT: Final = 400

FONT: Final = "font-family: Helvetica, Arial, sans-serif"


class Box(NamedTuple):
    """A participant: a title, and lines of small text below it."""

    x: int
    y: int
    width: int
    height: int
    fill: str
    title: str
    lines: tuple[str, ...]

    def svg(self) -> str:
        """Draw the box with its text centred."""
        middle = self.x + self.width // 2
        top = self.y + (self.height - 20 * len(self.lines)) // 2 + 5
        text = [f"<text x='{middle}' y='{top}' class='title'>{escape(self.title)}</text>"]
        text += [
            f"<text x='{middle}' y='{top + 20 * number}' class='line'>{escape(line)}</text>"
            for number, line in enumerate(self.lines, start=1)
        ]
        frame = (
            f"<rect x='{self.x}' y='{self.y}' width='{self.width}' height='{self.height}' rx='8'"
            f" fill='{self.fill}' stroke='#334155'/>"
        )
        return "\n".join([frame, *text])


class Arrow(NamedTuple):
    """A connection between two points, with a label beside it."""

    start: tuple[int, int]
    end: tuple[int, int]
    label: str
    label_at: tuple[int, int]
    kind: str = "signaling"

    def svg(self) -> str:
        """Draw the line and the label."""
        (x1, y1), (x2, y2), (x, y) = self.start, self.end, self.label_at
        return (
            f"<line x1='{x1}' y1='{y1}' x2='{x2}' y2='{y2}' class='{self.kind}'/>\n"
            f"<text x='{x}' y='{y}' class='label'>{escape(self.label)}</text>"
        )


BOXES: Final = (
    Box(20, 30, 220, 76, "#e0f2fe", "device", ("camera, robot, sensor", "C: clients/c/sigd.h")),
    Box(640, 30, 220, 76, "#e0f2fe", "program", ("recorder, hub, gateway", "Python: sigd.client, aiortc")),
    Box(330, 150, 220, 96, "#fef3c7", "sigd", ("registry of peer IDs", "relays offers, answers,", "ICE candidates")),
    Box(20, 290, 220, 76, "#f1f5f9", "person", ("nc, openssl s_client", "types lines")),
    Box(640, 290, 220, 76, "#f1f5f9", "operator", ("sigctl, systemd,", "Prometheus")),
)

ARROWS: Final = (
    Arrow((240, 58), (640, 58), "audio, video, data: from peer to peer, never through sigd", (440, 48), "media"),
    Arrow((200, 106), (328, 170), "UDP, DTLS, TCP", (205, 150)),
    Arrow((680, 106), (552, 170), "TLS, TCP, Unix sockets", (695, 150)),
    Arrow((200, 290), (328, 230), "TCP, TLS", (225, 258)),
    Arrow((680, 290), (552, 230), "admin socket, metrics", (690, 258)),
)

STYLE: Final = f"""\
text {{ {FONT}; fill: #0f172a; text-anchor: middle; }}
.title {{ font-size: 17px; font-weight: bold; }}
.line {{ font-size: 14px; }}
.label {{ font-size: 13px; fill: #334155; }}
.signaling {{ stroke: #0369a1; stroke-width: 2; marker-start: url(#to); marker-end: url(#to); }}
.media {{ stroke: #15803d; stroke-width: 2; stroke-dasharray: 7 5; marker-start: url(#to); marker-end: url(#to); }}"""


def picture() -> str:
    """Return the SVG file: who talks to whom."""
    return "\n".join(
        [
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' role='img'>",
            "<title>Peers exchange signaling through sigd; media flows between them directly</title>",
            f"<style>\n{STYLE}\n</style>",
            "<defs><marker id='to' viewBox='0 0 10 10' refX='9' refY='5' markerWidth='7' markerHeight='7'"
            " orient='auto-start-reverse'><path d='M0 0L10 5L0 10z' fill='#334155'/></marker></defs>",
            f"<rect width='{WIDTH}' height='{HEIGHT}' fill='#ffffff'/>",
            *(arrow.svg() for arrow in ARROWS),
            *(box.svg() for box in BOXES),
            "</svg>\n",
        ]
    )
