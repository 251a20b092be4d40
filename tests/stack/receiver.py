"""An HTTP server that prints every request it gets as a line of JSON: where alerts end up."""

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = {"path": self.path, "headers": headers, "body": json.loads(body)}
        print(json.dumps(request), flush=True)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        # What Slack's API says; the others look at the status alone.
        self.wfile.write(b'{"ok": true}')

    def log_message(self, *_: object) -> None:
        """Say nothing: the requests are the output."""


if __name__ == "__main__":
    server = HTTPServer((sys.argv[1], int(sys.argv[2])), Handler)
    print(json.dumps({"port": server.server_port}), flush=True)
    server.serve_forever()
