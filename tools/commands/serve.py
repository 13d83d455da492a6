"""Start the real server with this pack loaded, for the browser."""

import argparse

from tools.host_env.prepare import prepare_host
from tools.host_env.server import running_server

HELP = "start ComfyUI with this pack and print its address (Ctrl-C ends it)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--port", type=int, default=0, metavar="N", help="port to listen on (default: a free one)"
    )
    parser.add_argument("--cpu", action="store_true", help="do not use the GPU")
    parser.add_argument("arguments", nargs="*", help="after --: more of ComfyUI's own arguments")


def run(args: argparse.Namespace) -> int:
    prepare_host(tools=False)
    print("ComfyUI is starting ...", flush=True)
    with running_server(args.port, cpu=args.cpu or None, arguments=args.arguments) as server:
        print(f"ComfyUI with this pack: {server.url}   (log: {server.log}; Ctrl-C ends it)", flush=True)
        return server.process.wait()
