package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"touchmark/image/bootimg"
	"touchmark/image/card"
	"touchmark/image/recipe"
)

// signing are the flags of all that signs.
type signing struct{ key, wrapper, public string }

func (s *signing) flags(c *cobra.Command) {
	c.Flags().StringVar(&s.key, "key", "", "sign boot.img with this RSA-2048 private key (PEM)")
	c.Flags().StringVar(&s.wrapper, "signer", "", "sign boot.img by this program, called like the HSM wrapper of rpi-eeprom-digest")
	c.Flags().StringVar(&s.public, "public", "", "public key (PEM) of what --signer signs with")
}

// signer is nil if nothing is to be signed.
func (s *signing) signer(ctx context.Context) (recipe.Signer, error) {
	switch {
	case s.key != "" && s.wrapper != "":
		return nil, usagef("--key and --signer are two ways to sign: choose one")
	case (s.wrapper == "") != (s.public == ""):
		return nil, usagef("--signer and --public go together")
	case s.key != "":
		return unlessDone(ctx, func() (recipe.Signer, error) { return recipe.KeyFile(s.key) })
	case s.wrapper != "":
		return unlessDone(ctx, func() (recipe.Signer, error) { return recipe.Wrapper(s.wrapper, s.public) })
	}
	return nil, nil
}

func signCmd() *cobra.Command {
	var s signing
	c := &cobra.Command{
		Use:   "sign BOOT.IMG BOOT.SIG",
		Short: "Make the boot.sig of a boot.img",
		Long: "Sign makes what rpi-eeprom-digest makes: a board with secure boot starts only an image that its key signed.\n" +
			"It signs a boot.img that touchmark-image build made, of any version, and nothing else. build signs by itself when\n" +
			"it is given a key; assemble puts a boot.img and its boot.sig onto a card.",
		Example: "  touchmark-image sign --key boot.pem boot.img boot.sig",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usagef("%s takes an image and the name of its signature", c.CommandPath())
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			signer, err := s.signer(c.Context())
			if err != nil {
				return err
			}
			if signer == nil {
				return usagef("give a key: --key FILE, or --signer PROGRAM --public FILE")
			}
			if same(args[0], args[1]) {
				return usagef("%s is the image itself, which its signature would replace: name another file", args[1])
			}
			boot, err := readBoot(c.Context(), args[0])
			if err != nil {
				return err
			}
			sig, err := recipe.Sign(c.Context(), boot, signer)
			if err != nil {
				return err
			}
			return os.WriteFile(args[1], sig.Bytes(), 0o644)
		},
	}
	s.flags(c)
	return c
}

// same says whether two names are one file.
func same(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}

// readBoot reads a boot.img, and no more of anything else than one may have.
func readBoot(ctx context.Context, path string) ([]byte, error) {
	f, err := open(ctx, path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	boot, _, err := bootimg.Read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return boot, nil
}

// maxSig bounds a boot.sig, which has some 600 bytes.
const maxSig = 4 << 10

func assembleCmd() *cobra.Command {
	var public string
	c := &cobra.Command{
		Use:   "assemble BOOT.IMG BOOT.SIG FOLDER",
		Short: "Put a boot.img and its boot.sig into a slot and onto a card",
		Long: "Assemble makes slot.img and sdcard.img in a folder, of a boot.img that somebody built and of a boot.sig that you or\n" +
			"your signing machine made of it: what build makes of the two. Nothing needs to be built or fetched.",
		Example: "  touchmark-image sign --key boot.pem boot.img boot.sig\n" +
			"  touchmark-image assemble --public boot.pub boot.img boot.sig signed",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 3 {
				return usagef("%s takes an image, its signature and a folder", c.CommandPath())
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			boot, err := readBoot(c.Context(), args[0])
			if err != nil {
				return err
			}
			key, err := optionalKey(c.Context(), public)
			if err != nil {
				return err
			}
			sig, err := readFile(c.Context(), args[1], maxSig)
			if err != nil {
				return err
			}
			if err := recipe.Assemble(c.Context(), boot, sig, key, args[2], card.DataSectors); err != nil {
				return err
			}
			for _, name := range []string{recipe.SlotImage, recipe.CardImage} {
				fmt.Fprintln(c.OutOrStdout(), filepath.Join(args[2], name))
			}
			return nil
		},
	}
	c.Flags().StringVar(&public, "public", "", "public key (PEM) that boot.sig must be signed by; without it, any or none")
	return c
}
