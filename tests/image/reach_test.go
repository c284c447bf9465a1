//go:build imagetest

package image

import "testing"

// TestReach: the chip that token, stick and cable hang on reaches half of the memory. What is elsewhere the kernel copies for it
// (ZONE_DMA in image/kernel/board.config); as memory is given out in no order, without that the chip is not even set up.
func TestReach(t *testing.T) {
	r := newRig(t)
	r.ceremony()
	r.boot(r.tree("reach", "2048")...)
	r.enrol()
	r.host()
	r.sign(r.file("within-reach"))
	r.clean()
}
