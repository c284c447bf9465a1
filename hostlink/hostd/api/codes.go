package api

// Code is an exit code as docs/host-guide.md lists it.
type Code struct {
	Code        int
	Meaning, Do string // what happened, and what to do about it
}

// Codes are all exit codes of touchmark, in order.
var Codes = []Code{
	{OK, "done", ""},
	{Internal, "internal error", "report it"},
	{Usage, "wrong arguments", "see `--help`"},
	{BadInput, "bad input file", "the message names file and cause"},
	{NoDaemon, "`touchmark-hostd` is not running, or the socket is not yours", "start it; join its group"},
	{LinkDown, "no verified conversation with the appliance", "cable, power, device, baud; `touchmark status`"},
	{Refused, "the policy, or the appliance, refuses", "the message says why"},
	{Denied, "the operator refused", "ask the operator"},
	{TimedOut, "nobody armed it, or nobody touched the token, in time", "if the operator *did* touch: alarm, see the host guide"},
	{DeviceFault, "token, TPM or appliance failure, or halted; nothing was signed", "look at the appliance's display"},
	{Evidence, "something does not verify, or the log contradicts the mirror", "see \"Evidence\" in the host guide"},
	{MaySigned, "a signature may exist that you do not have", "run the `touchmark fetch` of the message; see the host guide"},
	{CannotWrite, "the result cannot be written", "make room, check permissions"},
	{Lapsing, "a layout of in-toto lapses soon, or has lapsed", "renew it: `touchmark intoto resign-due`"},
	{Interrupted, "interrupted before anything was signed", ""},
}
