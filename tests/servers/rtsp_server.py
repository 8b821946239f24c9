"""An RTSP camera on loopback, for /usr/bin/python3 with GStreamer's gst-rtsp-server; prints its port when ready.

Usage: rtsp_server.py [--port N] [--file STREAM.h264] [--size WxH] [--fps N] [--user NAME:PASSWORD] [--udp]
"""

from __future__ import annotations

import argparse
import signal
import sys
from importlib import import_module

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
GLib, Gst, GstRtsp, GstRtspServer = (
    import_module(f"gi.repository.{name}") for name in ("GLib", "Gst", "GstRtsp", "GstRtspServer")
)

ENCODER = "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=15 threads=1"
PAYLOAD = "rtph264pay name=pay0 pt=96 config-interval=1"


def launch(options: argparse.Namespace) -> str:
    """Return the pipeline: an H.264 byte stream over and over, or a moving test picture, without delay."""
    if options.file:
        caps = f"video/x-h264,stream-format=byte-stream,alignment=nal,framerate={options.fps}/1"
        return f'( multifilesrc location="{options.file}" loop=true caps="{caps}" ! h264parse ! {PAYLOAD} )'
    width, height = options.size.split("x")
    raw = f"video/x-raw,format=I420,width={width},height={height},framerate={options.fps}/1"
    # Grey behind the ball: a black picture is one that cannot be trusted.
    ball = "videotestsrc is-live=true pattern=ball background-color=0xff606060"
    return f"( {ball} ! {raw} ! {ENCODER} ! {PAYLOAD} )"


def protect(server: GstRtspServer.RTSPServer, factory: GstRtspServer.RTSPMediaFactory, user: str) -> None:
    """Ask for a user name and a password (Digest)."""
    name, _, password = user.partition(":")
    auth, token = GstRtspServer.RTSPAuth(), GstRtspServer.RTSPToken()
    auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
    token.set_string("media.factory.role", "line")
    auth.add_digest(name, password, token)
    server.set_auth(auth)
    roles = GstRtspServer.RTSPPermissions()
    roles.add_permission_for_role("line", "media.factory.access", True)
    roles.add_permission_for_role("line", "media.factory.construct", True)
    factory.set_permissions(roles)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", default="0")
    parser.add_argument("--file", default="")
    parser.add_argument("--size", default="320x240")
    parser.add_argument("--fps", type=int, default=25)
    parser.add_argument("--user", default="")
    parser.add_argument("--udp", action="store_true", help="send over UDP alone")
    options = parser.parse_args()
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(options.port)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(launch(options))
    factory.set_shared(True)
    if options.udp:
        factory.set_protocols(GstRtsp.RTSPLowerTrans.UDP)
    if options.user:
        protect(server, factory, options.user)
    server.get_mount_points().add_factory("/camera", factory)
    if server.attach(None) == 0:
        print("the port is taken", file=sys.stderr)
        return 1
    loop = GLib.MainLoop()
    GLib.unix_signal_add(GLib.PRIORITY_DEFAULT, signal.SIGTERM, loop.quit)
    print(server.get_bound_port(), flush=True)
    loop.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
