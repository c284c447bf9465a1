# ykman: what it says of the token, keys, certificates, attestation, objects,
# secrets. Its own command line, but all commands in one process: starting Python
# is most of what each takes. It is told which YubiKey, because it takes vpcd's
# second slot, which stays empty, for another.
import contextlib
import importlib.metadata
import io
import os
import subprocess
import sys

entry = importlib.metadata.distribution("yubikey-manager").entry_points
main = next(e for e in entry if e.group == "console_scripts" and e.name == "ykman").load()
profile, management = os.environ["PROFILE"], os.environ["MANAGEMENT"]
key = ["-m", "010203040506070801020304050607080102030405060708"]
pin = ["-P", "123456"]


def ykman(*args, fails=False):
    print("+ ykman", *args, flush=True)
    sys.argv = ["ykman", *(() if args[0] == "list" else ("--device", "12345678")), *args]
    out, code = io.StringIO(), 0
    with contextlib.redirect_stdout(out):
        try:
            main()
        except SystemExit as e:
            code = e.code or 0
    print(out.getvalue(), flush=True)
    if (code != 0) != fails:
        sys.exit(f"exit status {code}")
    return " ".join(out.getvalue().split())


def has(text, *parts):
    for part in parts:
        if part not in text:
            sys.exit(f"no {part!r}")


def shell(command):
    subprocess.run(["sh", "-eux", "-c", command], check=True)


has(ykman("list"), f"YubiKey 5A ({profile})", "Serial: 12345678")
has(ykman("info"), f"Firmware version: {profile}", "Serial number: 12345678", "Form factor: Keychain (USB-A)", "PIV Enabled")
has(ykman("piv", "info"), f"PIV version: {profile}", "PIN tries remaining: 3/3", f"Management key algorithm: {management}")

# WRITE CONFIG it answers as a token that has no such command; nothing is changed.
before = ykman("info")
ykman("config", "set-lock-code", "-n", "0123456789abcdef0123456789abcdef", fails=True)
ykman("config", "usb", "--chalresp-timeout", "20", "-f", fails=True)
if ykman("info") != before:
    sys.exit("its configuration is another")

ykman("piv", "keys", "generate", *key, "-a", "ECCP256", "--pin-policy", "once", "--touch-policy", "always", "9a", "pub9a.pem")
ykman("piv", "keys", "generate", *key, "-a", "RSA2048", "9c", "pub9c.pem")
for slot in "9a", "9c":
    ykman("piv", "certificates", "generate", *key, *pin, "-s", "CN=key in " + slot, slot, f"pub{slot}.pem")
    ykman("piv", "certificates", "export", slot, "cert.pem")
    ykman("piv", "certificates", "request", *pin, "-s", "CN=request", slot, f"pub{slot}.pem", "request.pem")
    ykman("piv", "keys", "attest", slot, "attestation.pem")
    ykman("piv", "certificates", "export", "f9", "intermediate.pem")
    shell(f"""openssl verify -CAfile cert.pem cert.pem
        openssl x509 -in cert.pem -noout -pubkey | cmp - pub{slot}.pem
        openssl req -in request.pem -noout -verify
        openssl req -in request.pem -noout -pubkey | cmp - pub{slot}.pem
        openssl verify -CAfile root.pem -untrusted intermediate.pem attestation.pem
        openssl x509 -in attestation.pem -noout -pubkey | cmp - pub{slot}.pem""")
ykman("piv", "certificates", "import", *key, *pin, "9d", "cert.pem")
ykman("piv", "certificates", "delete", *key, *pin, "9d")
ykman("piv", "certificates", "export", "9d", "none.pem", fails=True)

# Objects, and keys made elsewhere, in retired slots too.
for name in "CHUID", "CCC":
    ykman("piv", "objects", "generate", *key, *pin, name)
ykman("piv", "objects", "import", *key, *pin, "0x5f0001", "data")
ykman("piv", "objects", "export", "0x5f0001", "object")
ykman("piv", "objects", "export", "0x5f0002", "none", fails=True)
shell("""cmp data object
    openssl ecparam -name secp384r1 -genkey -noout -out own.pem
    openssl req -x509 -key own.pem -subj /CN=imported -days 2 -out own.crt
    openssl genrsa -out rsa.pem 1024""")
ykman("piv", "keys", "import", *key, *pin, "--pin-policy", "always", "--touch-policy", "cached", "83", "own.pem")
ykman("piv", "certificates", "import", *key, *pin, "--verify", "83", "own.crt")
ykman("piv", "keys", "import", *key, *pin, "9e", "rsa.pem")
ykman("piv", "keys", "export", *pin, "--verify", "9e", "pub9e.pem")
ykman("piv", "keys", "attest", "83", "none.pem", fails=True)
shell("openssl rsa -in rsa.pem -pubout | cmp - pub9e.pem")
has(ykman("piv", "info"), "Slot 83: Algorithm: ECCP384", "CN=imported", "CHUID: 3019", "CCC: f015")

# Secrets: other numbers of tries, a wrong one, a management key behind PIN and touch.
ykman("piv", "access", "set-retries", *key, *pin, "--force", "7", "8")
ykman("piv", "access", "change-pin", "-P", "000000", "-n", "654321", fails=True)
has(ykman("piv", "info"), "PIN tries remaining: 6/7")
ykman("piv", "access", "unblock-pin", "-p", "00000000", "-n", "654321", fails=True)
ykman("piv", "access", "change-management-key", *key, *pin, "--generate", "--protect", "--touch", "--force")
has(ykman("piv", "info"), "PIN tries remaining: 7/7", "protected by PIN")
ykman("piv", "keys", "generate", *pin, "-a", "ECCP256", "--pin-policy", "never", "82", "pub82.pem")
ykman("piv", "reset", "--force")

ykman("piv", "access", "change-pin", "-P", "123456", "-n", "654321")
ykman("piv", "access", "change-puk", "-p", "12345678", "-n", "87654321")
ykman("piv", "access", "unblock-pin", "-p", "87654321", "-n", "112233")
ykman("piv", "access", "change-management-key", *key, "-n", "0102030405060708010203040506070a", "-a", "AES128", "--force")
ykman("piv", "keys", "generate", *key, "-a", "ECCP256", "9d", "none.pem", fails=True)
has(ykman("piv", "info"), "Management key algorithm: AES128")
ykman("piv", "reset", "--force")
has(ykman("piv", "info"), f"Management key algorithm: {management}")
