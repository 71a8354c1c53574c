"""Rows about the token: unwrapping, the shortest run, and the start with many keys."""
from drops import softhsm_token, write_text
from lab import AUDIT_OFF
from measure import Command, Row, at_least

UNWRAPS, AUDITED, KEYS = 10_000, 1_000, 5_000
SESSIONS = (1, 2, 4)


def bare_unwrap(lab, wrapped, sessions):
    return [lab.peers / "bench_token", "unwrap", *lab.token.bare, wrapped, sessions]


def token_section(lab, sessions):
    module, label, pin = lab.token.bare
    return (f"[token bench]\nmodule = {module}\nuri = pkcs11:token={label}\n"
            f"pin-source = file:{pin}\nsessions = {sessions}\n")


def unwrap_config(lab, sessions, audit):
    return lab.config(f"unwrap-{sessions}-{'audited' if audit else 'alone'}",
                      token_section(lab, sessions) + ("" if audit else AUDIT_OFF))


def unwrap_rows(lab):
    def ours(name, wrapped, sessions, audit=False, **more):
        config = unwrap_config(lab, sessions, audit)
        return Command(name, lambda out: [lab.peers / "bench_unwraps", config, "bench", wrapped,
                                          sessions], **more)

    def loop(wrapped, sessions):
        return Command("C_Decrypt loop", lambda out: bare_unwrap(lab, wrapped, sessions),
                       at_least(0.95), bare=True)
    count = lab.scaled(UNWRAPS, 20)
    wrapped = lab.token.wrap_keys(count)
    for sessions in SESSIONS:
        yield Row(f"unwrap.{lab.token_kind}.{sessions}",
                  f"{count} data keys, {lab.token_kind}, sessions: {sessions}", [
                      ours("keyward's library, no audit trail", wrapped, sessions),
                      loop(wrapped, sessions)])
    # The loop keeps no trail, and its goal can't be one for this; what a trail costs is told apart.
    count = lab.scaled(AUDITED, 20)
    wrapped = lab.token.wrap_keys(count)
    yield Row(f"unwrap.{lab.token_kind}.audit",
              f"{count} data keys, {lab.token_kind}, audit trail", [
                  ours("keyward's library, audit trail", wrapped, 1, audit=True),
                  ours("no audit trail", wrapped, 1)])


def once_command(lab):
    """C_Initialize, C_Login, a search and one C_Decrypt; what the module itself takes in memory."""
    wrapped = lab.token.wrap_keys(1)
    return Command("C_Initialize, login, find, C_Decrypt", lambda out: bare_unwrap(lab, wrapped, 1),
                   1.3, bare=True)


def once_rows(lab):
    drop = lab.drop("once-drop")
    drop.add(write_text(lab.scratch / "once", 4000))
    yield Row(f"once.{lab.token_kind}", f"1 file of 4 KB, {lab.token_kind}, start to end", [
        Command("keyward decrypt", lab.decrypt(drop)), once_command(lab)])


def keys_rows(lab):
    yield keys_row(lab, lab.scaled(KEYS, 10))


def keys_row(lab, count):
    """The search is the goal's peer; what has to be read of each key is what that leaves out."""
    token = softhsm_token(lab.tokens / f"keys-{count}", lab.peers, count)
    drop = lab.drop(f"keys-drop-{count}")
    drop.add(write_text(lab.scratch / f"keys-file-{count}", 4000))

    def command(name, words, **more):
        return Command(name, lambda out: words, environment=token.environment, **more)
    return Row("keys.start", f"start with {count} keys on the token", [
        command("keyward inspect", [lab.keyward, "inspect", drop.folder, "--token", token.uri]),
        command("C_Initialize, login, C_FindObjects",
                [lab.peers / "bench_token", "find", *token.bare], goal=1.2, bare=True),
        command("... and C_GetAttributeValue of each",
                [lab.peers / "bench_token", "read", *token.bare], bare=True),
        command("keyward key list", [lab.keyward, "key", "list", "--token", token.uri])])


GROUPS = {"unwrap": unwrap_rows, "once": once_rows, "keys": keys_rows}
