package station

// measure counts anew how worn the TPM is. A log that cannot be read says
// nothing about it, and halts elsewhere.
func (s *Station) measure() {
	if w, err := s.past.Wear(s.clock.Now()); err == nil {
		s.wear = w
	}
}
