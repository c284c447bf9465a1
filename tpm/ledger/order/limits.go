package order

// MaxText bounds the text of an order in bytes: an origin, a note key and a
// reason in base64 are below 1500.
const MaxText = 2 << 10
