package update

// Version is the appliance's version, as the boot entry and the welcome name
// it.
const Version = "0.1.0"

// Serial rises by one with each image that is released: a board takes none with a
// lower one.
const Serial = 1
