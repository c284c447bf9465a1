package station

import (
	"errors"

	"touchmark/appliance/ceremony"
	"touchmark/appliance/station/chain"
	"touchmark/hostlink/message"
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
	unsigned, told := s.signCheckpoint(j)
	s.tpm.Do(func() func() {
		a, err := s.chain.Attestation(m, unsigned, told)
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

// signCheckpoint prepares the checkpoint of a job's commit, to be signed beside the loop,
// and what then has the host told: who can verify it while the TPM makes the quote and the
// token waits for its touch.
func (s *Station) signCheckpoint(j *job) (unsigned *chain.Unsigned, told func(note []byte)) {
	unsigned, err := s.chain.Unsigned()
	if err != nil || j.order != nil { // the release meets the error again, and halts; an order's checkpoint is told at its end
		return nil, nil
	}
	signed := make(chan []byte, 1)
	j.checkpoint = signed
	return unsigned, func(note []byte) {
		signed <- note
		s.loop.Post(func() {
			if s.job == j && !j.machine.Phase().Over() {
				_ = s.takeCheckpoint(j) // it is there, so that nothing can fail
			}
		})
	}
}

// takeCheckpoint makes the checkpoint of a job's commit the newest, signed now if it is
// not yet, and tells the host, once in a session.
func (s *Station) takeCheckpoint(j *job) (err error) {
	if !j.proven {
		select {
		case s.chain.Checkpoint = <-j.checkpoint:
		default:
			err = s.chain.Sign(j.attest)
		}
	}
	if err != nil {
		return err
	}
	j.proven = true
	if s.line.Host() != "" && j.told != s.line.Session() {
		m := message.Checkpoint{Note: s.chain.Checkpoint}
		s.line.Send(m.Marshal())
		j.told = s.line.Session()
	}
	return nil
}
