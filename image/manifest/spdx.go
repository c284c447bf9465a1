package manifest

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// The part of SPDX 2.3 (ISO/IEC 5962, https://spdx.github.io/spdx-spec/v2.3) that a list of software needs.
type (
	spdxDocument struct {
		Version       string             `json:"spdxVersion"`
		DataLicense   string             `json:"dataLicense"`
		ID            string             `json:"SPDXID"`
		Name          string             `json:"name"`
		Namespace     string             `json:"documentNamespace"`
		Creation      spdxCreation       `json:"creationInfo"`
		Packages      []spdxPackage      `json:"packages"`
		Relationships []spdxRelationship `json:"relationships"`
		Licences      []spdxLicence      `json:"hasExtractedLicensingInfos"`
	}
	spdxCreation struct {
		Created  string   `json:"created"`
		Creators []string `json:"creators"`
	}
	spdxPackage struct {
		ID        string         `json:"SPDXID"`
		Name      string         `json:"name"`
		Version   string         `json:"versionInfo"`
		Download  string         `json:"downloadLocation"`
		Analyzed  bool           `json:"filesAnalyzed"`
		Concluded string         `json:"licenseConcluded"`
		Declared  string         `json:"licenseDeclared"`
		Copyright string         `json:"copyrightText"`
		Checksums []spdxChecksum `json:"checksums,omitempty"`
		Refs      []spdxRef      `json:"externalRefs,omitempty"`
	}
	spdxChecksum struct {
		Algorithm string `json:"algorithm"`
		Value     string `json:"checksumValue"`
	}
	spdxRef struct {
		Category string `json:"referenceCategory"`
		Type     string `json:"referenceType"`
		Locator  string `json:"referenceLocator"`
	}
	spdxRelationship struct {
		From string `json:"spdxElementId"`
		Kind string `json:"relationshipType"`
		To   string `json:"relatedSpdxElement"`
	}
	spdxLicence struct {
		ID   string `json:"licenseId"`
		Name string `json:"name"`
		Text string `json:"extractedText"`
	}
)

// Component is a package of software in the image that is no Go module.
type Component struct {
	Name, Version, Licence string
	PURL                   string // package URL (https://github.com/package-url/purl-spec)
	SHA256                 string // of what it was taken from; may be empty
}

// FirmwareLicence names the terms of the Raspberry Pi's firmware, which are none of SPDX's list.
const FirmwareLicence = "LicenseRef-Broadcom-RaspberryPi"

// Bill is the list of the software in an image, in SPDX's JSON. firmware is the text of [FirmwareLicence], empty if the
// image has no firmware.
func Bill(m Manifest, parts []Component, firmware string) ([]byte, error) {
	boot, _ := m.File("boot.img")
	name := "touchmark-" + m.Board + "-" + m.Version
	image := spdxPackage{ID: "SPDXRef-image", Name: name, Version: m.Version, Download: "NOASSERTION", Concluded: "NOASSERTION",
		Declared: "NOASSERTION", Copyright: "NOASSERTION", Checksums: []spdxChecksum{{"SHA256", boot.SHA256}}}
	d := spdxDocument{
		Version: "SPDX-2.3", DataLicense: "CC0-1.0", ID: "SPDXRef-DOCUMENT", Name: name,
		Namespace: "urn:touchmark:image:" + boot.SHA256,
		Creation:  spdxCreation{time.Unix(m.Date, 0).UTC().Format(time.RFC3339), []string{"Tool: touchmark-image-" + m.Version}},
		Packages:  []spdxPackage{image}, Licences: []spdxLicence{},
		Relationships: []spdxRelationship{{"SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-image"}},
	}
	if firmware != "" {
		d.Licences = append(d.Licences, spdxLicence{FirmwareLicence, "Licence of the Raspberry Pi's firmware", firmware})
	}
	for _, mod := range m.Modules {
		parts = append(parts, Component{mod.Path, mod.Version, mod.Licence, "pkg:golang/" + mod.Path + "@" + mod.Version, ""})
	}
	for i, c := range parts {
		p := c.spdx(fmt.Sprintf("SPDXRef-%d-%s", i+1, idText(c.Name)))
		d.Packages = append(d.Packages, p)
		d.Relationships = append(d.Relationships, spdxRelationship{image.ID, "CONTAINS", p.ID})
	}
	b, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("manifest: SPDX: %w", err)
	}
	return append(b, '\n'), nil
}

func (c Component) spdx(id string) spdxPackage {
	p := spdxPackage{ID: id, Name: c.Name, Version: c.Version, Download: "NOASSERTION", Concluded: c.Licence, Declared: c.Licence,
		Copyright: "NOASSERTION", Refs: []spdxRef{{"PACKAGE-MANAGER", "purl", c.PURL}}}
	if c.SHA256 != "" {
		p.Checksums = []spdxChecksum{{"SHA256", c.SHA256}}
	}
	return p
}

// idText is a name with what an SPDX identifier may have.
func idText(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' {
			return r
		}
		return '-'
	}, name)
}
