"""Somebody who is told: a webhook's receiver that misbehaves, and what it says of what it was told.

It knows a message by its `webhook-id`, as receivers do. No change of a condition may be in two messages, and a repeat must
say the same; what arrived is compared with the ledger of deliveries.
"""

import base64
import json
import random
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Whatever fires again is told again after a second, so that there is always somebody to be told.
PACE = {"flush_s": 1, "critical_flush_s": 0, "retry_max_s": 1, "resolve_after_s": 3, "remind_after_s": 1}
QUIET_S = 60


class People:
    """The receiver, and its file of routes."""

    def __init__(self, folder, seed: int):
        self.lock, self.chance = threading.Lock(), random.Random(seed)
        self.taken: dict[str, dict] = {}
        self.wrong: list[str] = []
        self.calls = 0
        self.is_well = False
        people = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                people.told(self, self.headers.get("webhook-id", ""), json.loads(body))

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{self.server.server_address[1]}/hook"
        routes = {
            "receivers": {"watch": {"kind": "webhook", "url": url, "allow_http": True, "allow_private": True}},
            "default": ["watch"], "pace": PACE,
        }
        self.file = folder / "notify.yml"
        self.file.write_text(json.dumps(routes), encoding="utf-8")
        self.environment = {"NOCTUS_NOTIFY_WATCH_SECRET": "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()}

    def told(self, call, name: str, body: dict) -> None:
        with self.lock:
            self.calls += 1
            mood = 1.0 if self.is_well else self.chance.random()
        if mood < 0.1:
            call.send_error(503)
            return None
        with self.lock:
            known = self.taken.setdefault(name, body)
            if known != body:
                self.wrong.append(f"message {name} said something else when it was repeated")
        if mood < 0.2:  # taken, and nobody hears of it
            call.close_connection = True
            return None
        call.send_response(204)
        call.end_headers()
        return None

    def rest(self, line) -> list[str]:
        """Waits until everybody was told of everything; what is wrong with what was told."""
        self.is_well = True
        waiting = """SELECT (SELECT count(*) FROM notify_changes WHERE message_id IS NULL),
                            (SELECT count(*) FROM notify_messages WHERE state IN ('PENDING','SENDING')),
                            (SELECT count(*) FROM notify_conditions WHERE state = 'OPEN' AND source = 'alert')"""
        deadline = time.monotonic() + QUIET_S
        while (left := line.ask(waiting)[0]) != (0, 0, 0):
            if time.monotonic() > deadline:
                return [*self.wrong, f"untold changes, messages under way, open conditions: {left} after {QUIET_S} s"]
            time.sleep(0.2)
        delivered = {name for (name,) in line.ask("SELECT id FROM notify_messages WHERE state = 'DELIVERED'")}
        wrong = list(self.wrong)
        if delivered - set(self.taken):
            wrong.append(f"called delivered and never taken: {sorted(delivered - set(self.taken))[:3]}")
        if set(self.taken) - delivered:
            wrong.append(f"taken and not called delivered: {sorted(set(self.taken) - delivered)[:3]}")
        seen: dict[tuple, str] = {}
        for name, body in self.taken.items():
            for group in body["data"]["groups"]:
                for condition in group["conditions"]:
                    change = (condition["fingerprint"], condition["opened_at"], condition["change"])
                    if seen.setdefault(change, name) != name:
                        wrong.append(f"change {change} was told by {seen[change]} and by {name}")
        return wrong

    def end(self) -> None:
        self.server.shutdown()
