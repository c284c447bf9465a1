package attest

// maxCertificate bounds one DER certificate. Attestations with RSA-4096 keys
// are about 1.2 KiB; PIV objects can hold 3 KiB.
const maxCertificate = 4096
