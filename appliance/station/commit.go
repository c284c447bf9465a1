package station

import (
	"errors"

	"touchmark/appliance/ceremony"
	"touchmark/appliance/station/chain"
)

// extendHead has the TPM's worker run NV_Extend.
func (s *Station) extendHead(j *job) {
	m := j.commit
	s.tpm.Do(func() func() {
		applied, err := s.chain.ExtendHead(m)
		return func() { s.headExtended(j, applied, err) }
	})
}

func (s *Station) headExtended(j *job, applied bool, err error) {
	switch {
	case applied:
		s.chain.TookHead(j.commit)
		s.step(j, ceremony.HeadExtended{})
	case errors.Is(err, chain.ErrUnexplained):
		s.step(j, ceremony.Lost{Err: err})
	default:
		s.log.Error().Err(err).Msg("NV_Extend")
		s.step(j, ceremony.HeadExtended{Err: err})
	}
}

// extendPCR has it run PCR_Extend. If it did not take, the chain owes the PCR
// this commit; a start pays before the next one.
func (s *Station) extendPCR(j *job) {
	m := j.commit
	s.tpm.Do(func() func() {
		applied, err := s.chain.ExtendPCR(m)
		return func() { s.pcrExtended(j, applied, err) }
	})
}

func (s *Station) pcrExtended(j *job, applied bool, err error) {
	switch {
	case applied:
		s.chain.TookPCR(j.commit)
		s.step(j, ceremony.PCRExtended{})
	case errors.Is(err, chain.ErrUnexplained):
		s.step(j, ceremony.Lost{Err: err})
	default:
		s.log.Error().Err(err).Msg("PCR_Extend")
		s.chain.Dirty = true
		s.step(j, ceremony.PCRExtended{Err: err})
	}
}

// attest makes both attestations of a commit beside the touch.
func (s *Station) attest(j *job) {
	m := j.commit
	s.tpm.Do(func() func() {
		a, err := s.chain.Attestation(m)
		return func() {
			if err != nil {
				s.log.Error().Err(err).Msg("attestation")
				s.chain.Dirty = true
			}
			j.attest = a
			s.step(j, ceremony.Attested{Err: err})
		}
	})
}
