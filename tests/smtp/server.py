"""An SMTP server that keeps what it is sent, and can be at fault.

It says one line of JSON when it listens, and then answers each line on its standard input with one:

    list                  what it has seen so far
    fault NAME [TIMES]    be at fault from now on, so many times; without TIMES, always

Whatever a client was told before a line is asked is in the answer: it is one process with one thread.
"""

import argparse
import asyncio
import contextlib
import email.policy
import json
import logging
import socket
import ssl
import sys
from email.parser import BytesParser

from aiosmtpd.smtp import SMTP, AuthResult

# Replies that a step gives in place of its own.
REPLIES = {
    "greylist": ("RCPT", "451 4.7.1 Greylisted, come back later"),
    "greylist-data": ("DATA", "451 4.3.0 Try again later"),
    "unavailable": ("MAIL", "421 4.3.2 Closing"),
    "refuse-sender": ("MAIL", "550 5.7.1 Sender refused"),
    "refuse": ("RCPT", "550 5.1.1 No such user"),
    "refuse-data": ("DATA", None),  # the reply repeats the message
    "misplaced": ("DATA", "354 Go ahead"),
}


class Seen:
    """What is answered to `list`, and how often there is a fault still to come."""

    def __init__(self, fault):
        self.fault, self.times = fault, None
        self.connections, self.recipients, self.in_the_clear, self.messages = 0, 0, [], []

    def strikes(self, *names):
        """Whether one of these faults is on, and counts it."""
        if self.fault not in names or self.times == 0:
            return False
        if self.times is not None:
            self.times -= 1
        return True

    def answer(self, line):
        words = line.split()
        if words[:1] == ["fault"]:
            self.fault = words[1]
            self.times = int(words[2]) if len(words) > 2 else None
        parts = ("connections", "recipients", "in_the_clear", "messages")
        return {part: getattr(self, part) for part in parts}

    def keep(self, envelope, is_secure):
        """A message as Python's own parser reads it."""
        parsed = BytesParser(policy=email.policy.default).parsebytes(envelope.original_content)
        parts = {kind: parsed.get_body((kind,)) for kind in ("plain", "html")}
        self.messages.append(
            {
                "from": envelope.mail_from,
                "to": envelope.rcpt_tos,
                "headers": [[name, str(value)] for name, value in parsed.items()],
                "defects": [str(defect) for part in parsed.walk() for defect in part.defects],
                "parts": [part.get_content_type() for part in parsed.walk()],
                "secure": is_secure,
                "raw": envelope.original_content.decode("latin-1"),
                **{kind: part.get_content() if part else None for kind, part in parts.items()},
            }
        )


class Session(SMTP):
    """aiosmtpd's server, which counts its connections."""

    def __init__(self, seen, *args, **kwargs):
        super().__init__(Handler(seen), *args, **kwargs)
        self.seen, self.is_counted = seen, False

    def connection_made(self, transport):
        # STARTTLS calls it again.
        self.seen.connections += not self.is_counted
        self.is_counted = True
        super().connection_made(transport)


class Handler:
    """What aiosmtpd asks at each step: at fault where it is told to be."""

    def __init__(self, seen):
        self.seen = seen

    def at_fault(self, step, message=""):
        for name, (where, reply) in REPLIES.items():
            if where == step and self.seen.strikes(name):
                return reply or "554 5.6.0 refused: " + message[-300:].replace("\r\n", " ")
        return None

    async def handle_MAIL(self, server, session, envelope, address, options):
        if not is_secure(server):
            self.seen.in_the_clear.append("MAIL")
        envelope.mail_from = address
        return self.at_fault("MAIL") or "250 OK"

    async def handle_RCPT(self, server, session, envelope, address, options):
        self.seen.recipients += 1
        fault = self.at_fault("RCPT")
        if fault is None:
            envelope.rcpt_tos.append(address)
        return fault or "250 OK"

    async def handle_DATA(self, server, session, envelope):
        fault = self.at_fault("DATA", envelope.original_content.decode("latin-1"))
        if fault is not None:
            return fault
        if self.seen.strikes("drop-after-data"):
            server.transport.abort()
            return "451 Nobody hears this"
        self.seen.keep(envelope, is_secure(server))
        if self.seen.strikes("drop-after-taking"):
            server.transport.abort()
        if self.seen.strikes("hang-after-taking"):
            # A second longer than the client waits.
            await asyncio.sleep(6)
        return "250 OK"

    async def handle_exception(self, error):
        return f"451 {type(error).__name__}"


def is_secure(server):
    return server.transport.get_extra_info("sslcontext") is not None


async def faulty(seen, tls, reader, writer):
    """A conversation that aiosmtpd would not have."""
    seen.connections += 1
    try:
        match seen.fault:
            case "silent":
                await reader.read()
            case "trickle":
                await trickle(writer, b"220-" + b"x" * 10_000)
            case "trickle-later":
                writer.write(b"220 localhost\r\n")
                await reader.readline()
                writer.write(b"250 localhost\r\n")
                await reader.readline()
                await trickle(writer, b"250-" + b"x" * 10_000)
            case "flood":
                while True:
                    writer.write(b"x" * 65_536)
                    await writer.drain()
            case "nonsense":
                writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                await reader.read()
            case "inject":
                await injecting(seen, tls, reader, writer)
    except OSError:
        pass
    finally:
        writer.transport.abort()


async def trickle(writer, text):
    for at in range(len(text)):
        writer.write(text[at : at + 1])
        await writer.drain()
        await asyncio.sleep(1)


async def injecting(seen, tls, reader, writer):
    """Somebody on the way puts replies behind the one to STARTTLS, in the clear; then TLS begins as it should. A client
    that takes them for replies under TLS is one ahead from there on, and takes the go-ahead for the message as its
    acceptance."""
    writer.write(b"220 localhost\r\n")
    await reader.readline()
    writer.write(b"250-localhost\r\n250 STARTTLS\r\n")
    await reader.readline()
    writer.write(b"220 go ahead\r\n250 localhost\r\n")
    await writer.drain()
    await writer.start_tls(tls)
    for reply in (b"250 localhost\r\n", b"250 OK\r\n", b"250 OK\r\n", b"354 go ahead\r\n"):
        line = await reader.readline()
        if not line:
            return
        # What is said here is said to whoever is on the way.
        seen.in_the_clear.append(line.decode("latin-1").split()[0])
        writer.write(reply)
    await reader.read()


RAW = ("silent", "trickle", "trickle-later", "flood", "nonsense", "inject")


def factory(args, seen, tls):
    async def converse(reader, writer):
        await faulty(seen, tls, reader, writer)

    def accept(server, session, envelope, mechanism, data):
        given = f"{data.login.decode()}:{data.password.decode()}"
        if given == args.account:
            return AuthResult(success=True)
        # Some servers repeat what they were given.
        return AuthResult(success=False, handled=False, message=f"535 5.7.8 {given} is wrong")

    def protocol():
        if seen.fault in RAW and seen.times != 0:
            return asyncio.StreamReaderProtocol(asyncio.StreamReader(), converse)
        starttls = {"tls_context": tls, "require_starttls": True} if args.tls == "starttls" else {}
        auth = {"authenticator": accept, "auth_required": True, "auth_require_tls": False}
        return Session(
            seen,
            hostname="localhost",
            ident="test",
            enable_SMTPUTF8=args.utf8,
            decode_data=False,
            **starttls,
            **(auth if args.account else {}),
        )

    return protocol


def unreachable(address):
    """A socket whose queue is full: the kernel drops whoever knocks."""
    listening = socket.create_server(address, backlog=0)
    knocking = []
    for _ in range(4):
        waiting = socket.socket(listening.family)
        waiting.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            waiting.connect(listening.getsockname())
        knocking.append(waiting)
    return listening, knocking


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--fault", default="none")
    parser.add_argument("--tls", choices=("none", "starttls", "tls"), default="none")
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    parser.add_argument("--account", help="NAME:PASSWORD, required from then on")
    parser.add_argument("--utf8", action="store_true", help="offers SMTPUTF8")
    args = parser.parse_args()

    seen, tls = Seen(args.fault), None
    if args.certificate:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(args.certificate, args.key)

    # Clients that hang up in the middle are what this is for.
    logging.disable()
    loop = asyncio.get_running_loop()
    if args.fault == "unreachable":
        listening, _knocking = unreachable((args.address, args.port))
    else:
        direct = tls if args.tls == "tls" else None
        server = await loop.create_server(factory(args, seen, tls), args.address, args.port, ssl=direct)
        listening = server.sockets[0]
    tell({"port": listening.getsockname()[1]})

    commands = asyncio.StreamReader(limit=1 << 20)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        tell(seen.answer(line.decode()))


def tell(answer):
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


asyncio.run(main())
