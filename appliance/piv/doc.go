// Package piv is the signing token: a YubiKey's PIV application, reached by
// piv-go over appliance/pcsc. See there for how to build what imports this.
//
// A [Token] is one insertion of one token, opened exclusively. It signs with
// keys that were generated in it with touch policy always and PIN policy once:
// the PIN is verified once per insertion, every signature waits for a touch.
//
// # Guarantees
//
//   - Sign sends exactly one command (RSA: one chained command): no PIN is
//     asked for and no state is queried on the way.
//   - A PIN handed in is zeroed before the call returns. (One copy of eight
//     bytes that piv-go makes stays on the heap until it is reused; its
//     request slice is cleared by appliance/pcsc. Package sandbox keeps the
//     heap out of swap and core dumps.)
//   - The last PIN try is never used up: [ErrLastTry].
//   - Once the token is gone every call says [ErrRemoved], until a new Open.
//     Nothing waits longer than pcsc.ExchangeLimit (with the build tag pcscd:
//     than the daemon and its driver do).
//   - Errors are typed: ErrNoToken, ErrBusy, ErrRemoved, ErrPINRequired,
//     ErrTouchTimeout, ErrLastTry, ErrEmptySlot, ErrSlotInUse, *PINError,
//     *TokenError.
//
// There is no cancel: once Sign has begun, the token stays armed for its touch
// window, whoever has lost interest. Callers decide before, or withhold the
// result after.
package piv
