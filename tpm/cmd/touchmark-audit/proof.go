package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
)

func proofCommand() *cobra.Command {
	var trust string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify-proof FILE.tmproof --trust DIR",
		Short: "Verify one proof and say what it proves",
		Long: `Verify that a proof's intent stands in the log under a checkpoint that the TPM
committed, and print the intent. That a file and its signature are those of the
intent is what 'touchmark verify FILE' compares.`,
		Example: `  touchmark-audit verify-proof demo.db.tar.gz.tmproof --trust trust`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return verifyProof(cmd.OutOrStdout(), args[0], trust, asJSON)
		},
	}
	trustFlag(cmd, &trust)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the intent as JSON")
	return cmd
}

func verifyProof(out io.Writer, path, trust string, asJSON bool) error {
	tr, err := readTrust(trust)
	if err != nil {
		return unreadable(err)
	}
	p, err := readProof(path)
	if err != nil {
		return unreadable(err)
	}
	intent, h, err := tr.VerifyProof(p)
	if err != nil {
		return &exitError{exitEvidence, err.Error()}
	}
	return printEntry(out, h, intent, asJSON, "committed by the TPM, size "+fmt.Sprint(p.Size))
}

// proofItem is an item of an intent for people and programs to read.
type proofItem struct {
	Name   string `json:"name"`
	Format string `json:"format"`
	Digest string `json:"digest"`
	Size   uint64 `json:"size"`
	Sign   string `json:"sign"`
}

func itemsOf(in *ledger.Intent) (class string, items []proofItem, err error) {
	text, err := message.NoteText(in.Approval)
	if err != nil {
		return "", nil, err
	}
	a, err := message.ParseApproval(text)
	if err != nil {
		return "", nil, err
	}
	for i, it := range a.Items {
		p := proofItem{Name: it.Name, Format: it.Format, Digest: it.Digest.String(), Size: it.Size}
		if i < len(in.SignDigests) {
			p.Sign = in.SignDigests[i].String()
		}
		items = append(items, p)
	}
	return a.Class, items, nil
}

func printJSON(out io.Writer, v any) error {
	if err := json.NewEncoder(out).Encode(v); err != nil {
		return unreadable(err)
	}
	return nil
}
