"""An SMTP server for tests: a real one (aiosmtpd) that misbehaves on request, and reads each mail
back with Python's own MIME parser.

    smtp.py '{"tls": "starttls", "cert": "a.pem", "key": "a.key", "login": ["me", "secret"]}'

Prints {"port": …} and then one line of JSON for each mail it takes. Keys, all optional:

    tls       "none", "starttls", "implicit"; with cert and key
    login     [user, password], which are then required
    auth      methods to offer: ["PLAIN", "LOGIN"]
    plain     offer AUTH without TLS as well
    replies   {"MAIL" | "DATA" | "AUTH" | an address: [what each such command gets, in order]}:
              null as usual, "drop", "hang", or an answer such as "451 4.7.1 Greylisted"
    raw       no SMTP at all: these lines are sent at once, then the connection closes or,
              with "hang": true, stays
"""

import asyncio
import json
import logging
import ssl
import sys
import warnings
from email import message_from_bytes, policy
from html.parser import HTMLParser

# Broken connections are what the tests are about, and aiosmtpd warns of settings that are meant.
logging.disable()
warnings.simplefilter("ignore")

HANG = 3600


class Page(HTMLParser):
    """What a person sees, and what a page is made of."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.words, self.hidden = set(), set(), [], 0
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attributes)
        self.hidden += tag in ("style", "title")

    def handle_endtag(self, tag):
        self.hidden -= tag in ("style", "title")

    def handle_data(self, data):
        if not self.hidden and data.strip():
            self.words.extend(line for line in data.split("\n") if line.strip())


def part(message):
    """A part of a mail, with those within it."""
    found = {"type": message.get_content_type()}
    if message.is_multipart():
        found["parts"] = [part(inner) for inner in message.iter_parts()]
        return found
    found["charset"] = message.get_content_charset()
    if message.get_filename():
        found["attachment"] = message.get_filename()
        found["disposition"] = message.get_content_disposition()
    text = message.get_content().replace("\r\n", "\n")
    found["text"] = text
    if found["type"] == "text/html":
        page = Page(text)
        found["tags"] = sorted(page.tags)
        found["attributes"] = sorted(page.attributes)
        found["seen"] = page.words
    return found


def defects(message):
    found = [str(d) for m in message.walk() for d in m.defects]
    for name, value in message.items():
        found += [f"{name}: {d}" for d in getattr(value, "defects", [])]
    return found


def parsed(raw):
    message = message_from_bytes(raw, policy=policy.default)
    headers = [(n, str(v)) for n, v in message.items() if n.lower() != "content-type"]
    return {
        "headers": headers,
        "body": part(message),
        "defects": defects(message),
        "bytes": len(raw),
        "longest_line": max(len(line) for line in raw.split(b"\r\n")),
        "bare_line_ends": raw.replace(b"\r\n", b"").count(b"\n")
        + raw.replace(b"\r\n", b"").count(b"\r"),
        "ascii": raw.isascii(),
    }


def say(value):
    print(json.dumps(value), flush=True)


class Handler:
    def __init__(self, settings):
        self.replies = {k: list(v) for k, v in settings.get("replies", {}).items()}

    async def scripted(self, server, name):
        queue = self.replies.get(name, [])
        action = queue.pop(0) if queue else None
        if action == "hang":
            await asyncio.sleep(HANG)
        if action == "drop":
            server.transport.abort()
            await asyncio.sleep(HANG)
        return action

    async def handle_MAIL(self, server, session, envelope, address, options):
        reply = await self.scripted(server, "MAIL")
        if reply:
            return reply
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 sender ok"

    async def handle_RCPT(self, server, session, envelope, address, options):
        reply = await self.scripted(server, address)
        if reply:
            return reply
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 recipient ok"

    async def handle_DATA(self, server, session, envelope):
        reply = await self.scripted(server, "DATA")
        if reply:
            return reply
        say(
            {
                "hello": session.host_name,
                "tls": session.ssl is not None or server.transport.get_extra_info("ssl_object") is not None,
                "login": session.auth_data.login.decode() if session.auth_data else None,
                "from": envelope.mail_from,
                "to": envelope.rcpt_tos,
                "mail": parsed(envelope.original_content),
            }
        )
        return "250 2.0.0 queued as 4242"


async def raw(settings):
    async def serve(reader, writer):
        writer.write("".join(line + "\r\n" for line in settings["raw"]).encode())
        if settings.get("hang"):
            await asyncio.sleep(HANG)
        writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0)


async def smtp(settings):
    from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

    tls = settings.get("tls", "none")
    context = None
    if tls != "none":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(settings["cert"], settings["key"])
    handler = Handler(settings)
    login = settings.get("login")

    def authenticate(server, session, envelope, mechanism, data):
        queue = handler.replies.get("AUTH", [])
        if queue:
            return AuthResult(success=False, handled=False, message=queue.pop(0))
        right = isinstance(data, LoginPassword) and [
            data.login.decode(),
            data.password.decode(),
        ] == login
        if right:
            return AuthResult(success=True, auth_data=data)
        return AuthResult(success=False, handled=False, message="535 5.7.8 Authentication failed")

    offered = settings.get("auth", ["PLAIN", "LOGIN"])

    def one():
        return SMTP(
            handler,
            hostname="mail.example.org",
            ident="test",
            tls_context=context if tls == "starttls" else None,
            require_starttls=tls == "starttls",
            auth_required=login is not None,
            # It does not see that the connection is encrypted from the first byte.
            auth_require_tls=tls == "starttls" or not (tls == "implicit" or settings.get("plain")),
            auth_exclude_mechanism=[m for m in ("PLAIN", "LOGIN") if m not in offered],
            authenticator=authenticate,
        )

    loop = asyncio.get_running_loop()
    return await loop.create_server(
        one, "127.0.0.1", 0, ssl=context if tls == "implicit" else None
    )


async def main():
    settings = json.loads(sys.argv[1])
    server = await (raw if "raw" in settings else smtp)(settings)
    say({"port": server.sockets[0].getsockname()[1]})
    # Ends with the test, which holds the other end of the pipe.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
