package station

// Version is the appliance's version, as the boot entry and the welcome name
// it.
const Version = "0.1.0"
