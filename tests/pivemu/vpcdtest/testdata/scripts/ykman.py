# ykman: what it says of the token, keys, certificates, attestation, secrets. Its
# own command line, but twenty commands in one process: starting Python is most of
# what each takes.
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
    sys.argv = ["ykman", "--reader", os.environ["PIVEMU_READER"], *args]
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


has(ykman("info"), f"Firmware version: {profile}", "Serial number: 12345678", "Form factor: Keychain (USB-A)", "PIV Enabled")
has(ykman("piv", "info"), f"PIV version: {profile}", "PIN tries remaining: 3/3", f"Management key algorithm: {management}")

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

ykman("piv", "access", "change-pin", "-P", "123456", "-n", "654321")
ykman("piv", "access", "change-puk", "-p", "12345678", "-n", "87654321")
ykman("piv", "access", "unblock-pin", "-p", "87654321", "-n", "112233")
ykman("piv", "access", "change-management-key", *key, "-n", "0102030405060708010203040506070a", "-a", "AES128", "--force")
ykman("piv", "keys", "generate", *key, "-a", "ECCP256", "9d", "none.pem", fails=True)
has(ykman("piv", "info"), "Management key algorithm: AES128", "CN=key in 9a")
ykman("piv", "reset", "--force")
has(ykman("piv", "info"), f"Management key algorithm: {management}")
