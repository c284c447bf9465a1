# Touchmark: build, demo, tests. `make help` lists what there is to do.
# The only prerequisites are a Debian 12 (or newer), Go and make itself: `make setup` installs the rest.

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

GO  ?= go
OUT := build
COMMA := ,
BIN := $(OUT)/bin

# What the build, the demo and the tests really run, by Debian package.
PACKAGES := gcc libc6-dev pkg-config binutils \
            swtpm swtpm-tools tpm2-tools \
            pcscd libpcsclite-dev vsmartcard-vpcd opensc yubico-piv-tool ykcs11 yubikey-manager openssh-client \
            gnupg gpgv sqv openssl python3 in-toto \
            qemu-system-x86 strace age \
            groff-base dosfstools mtools fdisk systemd udev pacman-package-manager makepkg fakeroot libarchive-tools curl xz-utils zstd \
            git reprepro aptly debsigs dpkg-dev apt-transport-in-toto rpm createrepo-c dnf \
            licensecheck python3-license-expression

# What `make arm64` needs beyond that: a C compiler for the board, qemu to run what it made, and a machine with a GPIO chip.
ARM64_PACKAGES := gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static qemu-system-arm

# What `make image` needs beyond that: the board's compilers, and what a kernel is configured and built with.
IMAGE_PACKAGES := gcc-aarch64-linux-gnu libc6-dev-arm64-cross make bc bison flex zstd e2fsprogs

# appliance/pcsc serves the PC/SC functions that piv-go links against, so pkg-config must find our stub and never the
# system's libpcsclite. Go's build cache ignores pkg-config's answers: the -D marker keeps the two kinds of objects apart.
STUB          := $(CURDIR)/appliance/pcsc/stub
INPROC_ENV    := PKG_CONFIG_PATH="$(STUB)" CGO_CFLAGS="-O2 -g -DPCSC_INPROC" CGO_ENABLED=1
PCSCD_ENV     := CGO_CFLAGS="-O2 -g -DPCSC_SYSTEM" CGO_ENABLED=1
PURE_ENV      := CGO_ENABLED=0
ARM64_ENV     := GOARCH=arm64 CC=aarch64-linux-gnu-gcc
TAGS          := netgo,osusergo
EMULATED_TAGS := netgo,osusergo,emulated
GOBUILD       := $(GO) build -trimpath
STRIP         := -s -w
STATIC        := -s -w -linkmode external -extldflags "-static"

TOKEN_PROFILE ?= 5.7.1
TOKEN_TOUCH   ?= auto

TEST_TIMEOUT ?= 20m
FUZZTIME     ?= 20s
SOAK         ?= 20000
MANY         ?= 1000

.PHONY: help setup build packages arm64 image image-repro image-test demo demo-up demo-down token test check powercut heal queue soak bench fuzz clean

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: tools ## install the missing Debian packages, and the kernel of the tests' virtual machine (nothing to do: a fraction of a second)
	@tests/serial/kernel.sh $(OUT)/kernel

.PHONY: tools
tools: # the packages alone: who wants to see the demo waits for no kernel
	@command -v dpkg-query >/dev/null || { echo "setup: this is no Debian system; install by hand: $(PACKAGES)" >&2; exit 1; }; \
	command -v $(GO) >/dev/null || { echo "setup: no Go toolchain on the PATH; install Go $$(awk '/^go /{print $$2}' go.mod) or newer" >&2; exit 1; }; \
	have=$$(dpkg-query -W -f='$${Package} $${db:Status-Abbrev}\n' $(PACKAGES) 2>/dev/null | awk '$$2 == "ii" {print $$1}' || true); \
	missing=$$(comm -23 <(printf '%s\n' $(PACKAGES) | sort -u) <(printf '%s\n' $$have | sort -u) | xargs); \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" != 0 ]; then echo "setup: missing packages; run as root: apt-get install --no-install-recommends $$missing" >&2; exit 1; fi; \
	echo "setup: installing $$missing"; \
	export DEBIAN_FRONTEND=noninteractive; \
	apt-get -q -o DPkg::Lock::Timeout=500 update; \
	apt-get -q -y -o DPkg::Lock::Timeout=500 install --no-install-recommends $$missing

build: ## every binary, into build/bin
	@mkdir -p $(BIN)
	@$(PURE_ENV) $(GOBUILD) -ldflags '$(STRIP)' -o $(BIN)/ ./hostlink/cmd/touchmark ./hostlink/cmd/touchmark-hostd ./hostlink/cmd/touchmark-gpg ./tpm/cmd/touchmark-audit ./appliance/cmd/touchmark-link ./tests/pivemu/cmd/pivemu ./tests/demo
	@install -m 755 hostlink/cmd/touchmark-gpg/touchmark-wait $(BIN)/
	@hostlink/packaging/licences.sh $(BIN)
	@$(INPROC_ENV) $(GOBUILD) -tags $(TAGS) -ldflags '$(STATIC)' -o $(BIN)/touchmark-appliance ./appliance/cmd/touchmark-appliance
	@$(INPROC_ENV) $(GOBUILD) -tags $(EMULATED_TAGS) -ldflags '$(STATIC)' -o $(BIN)/touchmark-appliance-emulated ./appliance/cmd/touchmark-appliance
	@$(PCSCD_ENV) $(GOBUILD) -tags $(TAGS),pcscd -ldflags '$(STRIP)' -o $(BIN)/touchmark-appliance-pcscd ./appliance/cmd/touchmark-appliance

# A version that grows with the commits: both packagers compare it as numbers.
VERSION ?= 0.$(shell git log -1 --format=%cd.g%h --date=format:%Y%m%d%H%M 2>/dev/null || echo 0)

packages: tools build ## the host's programs as .deb and, by makepkg, for Arch, into build/packages
	@rm -rf $(OUT)/packages
	@SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct 2>/dev/null || echo 0) hostlink/packaging/packages.sh $(BIN) $(OUT)/packages $(VERSION)

arm64: ## the board's binaries for arm64, static, tried under qemu: what they do to a token, buttons and lamps on a real chip
	@$(MAKE) --no-print-directory tools PACKAGES="$(PACKAGES) $(ARM64_PACKAGES)"
	@mkdir -p $(OUT)/arm64
	@$(ARM64_ENV) $(PURE_ENV) $(GOBUILD) -ldflags '$(STRIP)' -o $(OUT)/arm64/ ./appliance/cmd/touchmark-link
	@$(ARM64_ENV) $(INPROC_ENV) $(GOBUILD) -tags $(TAGS) -ldflags '$(STATIC)' -o $(OUT)/arm64/touchmark-appliance ./appliance/cmd/touchmark-appliance
	@for b in touchmark-link touchmark-appliance; do \
	  readelf -h $(OUT)/arm64/$$b | grep -q AArch64 || { echo "arm64: $$b is for another machine" >&2; exit 1; }; \
	  if readelf -d $(OUT)/arm64/$$b | grep -q NEEDED; then echo "arm64: $$b must be static but needs:" >&2; readelf -d $(OUT)/arm64/$$b | grep NEEDED >&2; exit 1; fi; \
	  said=$$(qemu-aarch64-static $(OUT)/arm64/$$b --help 2>&1 || true); \
	  [[ "$$said" =~ $$b ]] || { echo "arm64: $$b does not run: $$said" >&2; exit 1; }; done
	@for p in appliance/pcsc appliance/pcsc/ccid; do \
	  $(ARM64_ENV) $(INPROC_ENV) $(GO) test -c -tags $(EMULATED_TAGS) -ldflags '$(STATIC)' -o $(OUT)/arm64/test ./$$p; \
	  (cd $$p && qemu-aarch64-static $(CURDIR)/$(OUT)/arm64/test -test.skip "Build|Flags" -test.timeout $(TEST_TIMEOUT)) || exit 1; done
	@rm $(OUT)/arm64/test
	@tests/gpio/kernel.sh $(OUT)/kernel-arm64/vmlinuz
	@$(INPROC_ENV) $(GO) vet -tags $(EMULATED_TAGS),arm64machine ./tests/gpio
	@TOUCHMARK_ARM64_KERNEL="$(CURDIR)/$(OUT)/kernel-arm64/vmlinuz" $(INPROC_ENV) $(GO) test -count=1 -tags $(EMULATED_TAGS),arm64machine ./tests/gpio
	@echo "arm64: ok"

# BOARD: rpi4, cm4 or qemu. IMAGE_FLAGS: see build/bin/touchmark-image build --help, for example --key boot.pem.
# IMAGE_TESTS: which tests of make image-test, a regular expression; none: all.
# IMAGE_CACHE: folder of Debian's packages and of finished kernels, which may outlive the clone and serve several: a kernel
# lies there under its source, options and compiler, and is held against its hashes before it is used.
BOARD       ?= rpi4
IMAGE_FLAGS ?=
IMAGE_CACHE ?= $(OUT)/image-cache
IMAGE_TESTS ?=
IMAGE_TEST_TIMEOUT ?= 90m

.PHONY: touchmark-image
touchmark-image:
	@$(MAKE) --no-print-directory tools PACKAGES="$(IMAGE_PACKAGES) dpkg-dev git xz-utils"
	@mkdir -p $(BIN)
	@$(PURE_ENV) $(GOBUILD) -ldflags '$(STRIP)' -o $(BIN)/ ./image/cmd/touchmark-image

image: touchmark-image ## the board's image into build/image/BOARD (BOARD=rpi4, cm4, qemu; IMAGE_FLAGS="--key boot.pem"); a kernel the first time, kept in IMAGE_CACHE=DIR
	@$(BIN)/touchmark-image build --board $(BOARD) --cache $(IMAGE_CACHE) $(IMAGE_FLAGS)

image-repro: touchmark-image ## the image twice, in two folders, with empty caches: the same to the last bit
	@$(BIN)/touchmark-image repro --board $(BOARD) --cache $(IMAGE_CACHE) $(IMAGE_FLAGS)

image-test: setup build touchmark-image ## the image in a virtual machine: enrol, sign, cut the power, pull, fill, damage and hang what there is; two kernels the first time
	@$(MAKE) --no-print-directory tools PACKAGES="qemu-system-arm mtools dosfstools e2fsprogs device-tree-compiler cpio binutils zstd"
	@$(BIN)/touchmark-image build --board qemu --cache $(IMAGE_CACHE)
	@$(BIN)/touchmark-image build --board rpi4 --cache $(IMAGE_CACHE)
	@rm -rf $(OUT)/next && mkdir -p $(OUT)/next && tar -c --exclude=./.git --exclude=./$(OUT) . | tar -x -C $(OUT)/next && \
	awk '$$1 == "const" && $$2 == "Serial" {$$4++} $$1 == "const" && $$2 == "Version" {$$4 = "\"next\""} 1' appliance/update/version.go >$(OUT)/next/appliance/update/version.go
	@cd $(OUT)/next && $(PURE_ENV) $(GOBUILD) -buildvcs=false -o touchmark-image ./image/cmd/touchmark-image
	@$(OUT)/next/touchmark-image build --board qemu --source $(OUT)/next --out $(OUT)/image/next --cache $(IMAGE_CACHE)
	@$(GO) test -count=1 -tags $(EMULATED_TAGS),imagetest -run '^TestLinkedC$$' ./image/recipe
	@$(INPROC_ENV) TOUCHMARK_IMAGE="$(CURDIR)/$(OUT)/image/qemu" TOUCHMARK_IMAGE_BOARD="$(CURDIR)/$(OUT)/image/rpi4" TOUCHMARK_IMAGE_NEXT="$(CURDIR)/$(OUT)/image/next" TOUCHMARK_BIN="$(CURDIR)/$(BIN)" $(GO) test -count=1 -v -timeout $(IMAGE_TEST_TIMEOUT) -tags $(EMULATED_TAGS),imagetest $(if $(IMAGE_TESTS),-run "$(IMAGE_TESTS)") ./tests/image

demo: tools build ## the main job, narrated: sign a real pacman database by a touch (DEMO_AUTO=1: hands off)
	@$(BIN)/demo run --dir $(OUT)/demo --bin $(BIN)

demo-up: tools build ## the demo's world, left running for your own files (DEMO_TOUCH=auto|never|ask)
	@$(BIN)/demo up --dir $(OUT)/demo --bin $(BIN)

demo-down: ## stop what demo-up started
	@if [ -x $(BIN)/demo ]; then $(BIN)/demo down --dir $(OUT)/demo; else echo "demo-down: nothing is running"; fi

token: tools build ## an emulated token in a reader of your own, until Ctrl-C (TOKEN_PROFILE=5.4.3, TOKEN_TOUCH=ask)
	@mkdir -p $(OUT)/token-$(TOKEN_PROFILE)
	@$(BIN)/pivemu with-pcscd --dir $(OUT)/token-$(TOKEN_PROFILE) --profile $(TOKEN_PROFILE) --touch $(TOKEN_TOUCH)

test: setup build ## all tests, race detector on
	@$(INPROC_ENV) TOUCHMARK_BIN="$(CURDIR)/$(BIN)" $(GO) test -race -timeout $(TEST_TIMEOUT) -tags $(EMULATED_TAGS) ./...
	@$(GO) test -run '^Test(Model|DisturbedAtEveryStep)$$' ./hostlink/session # in full; with the race detector a part

check: setup build ## gofmt, vet, staticcheck, static-binary asserts
	@unformatted=$$(gofmt -l appliance hostlink image tpm tests); [ -z "$$unformatted" ] || { echo "check: run gofmt -w on:" $$unformatted >&2; exit 1; }
	@$(GO) mod verify >/dev/null
	@$(INPROC_ENV) $(GO) vet -tags $(TAGS) ./...
	@$(INPROC_ENV) $(GO) vet -tags $(EMULATED_TAGS) ./...
	@$(INPROC_ENV) $(GO) vet -tags $(EMULATED_TAGS),imagetest ./image/... ./tests/image/...
	@$(PCSCD_ENV) $(GO) vet -tags $(TAGS),pcscd ./appliance/...
	@$(INPROC_ENV) $(GO) tool staticcheck -checks all -tags $(EMULATED_TAGS) ./...
	@for b in touchmark touchmark-hostd touchmark-gpg touchmark-audit touchmark-link touchmark-appliance touchmark-appliance-emulated; do \
	  if readelf -d $(BIN)/$$b | grep -q NEEDED; then echo "check: $$b must be static but needs:" >&2; readelf -d $(BIN)/$$b | grep NEEDED >&2; exit 1; fi; done
	@readelf -d $(BIN)/touchmark-appliance-pcscd | grep -q 'NEEDED.*libpcsclite' || { echo "check: touchmark-appliance-pcscd does not use the system's pcscd" >&2; exit 1; }
	@if $(GO) version -m $(BIN)/touchmark-appliance | grep -q 'tags=.*emulated'; then echo "check: the production appliance was built with the emulated token" >&2; exit 1; fi
	@echo "check: ok"

powercut: setup build ## the board ends at every step in every way; every call on files fails in turn (some hours)
	@$(INPROC_ENV) TOUCHMARK_POWERCUT=full $(GO) test -count=1 -v -timeout 2h -tags $(EMULATED_TAGS) ./tests/crash
	@$(INPROC_ENV) TOUCHMARK_POWERCUT=full TOUCHMARK_BIN="$(CURDIR)/$(BIN)" $(GO) test -count=1 -v -timeout 6h -tags $(EMULATED_TAGS) ./tests/powercut

heal: setup build ## a log of 34 MiB comes back to its board from the host's mirror (some minutes)
	@$(INPROC_ENV) TOUCHMARK_HEAL_KIB=34816 TOUCHMARK_BIN="$(CURDIR)/$(BIN)" $(GO) test -count=1 -v -timeout 2h -tags $(EMULATED_TAGS) -run TestLongLogHeals ./tests/e2e

queue: setup build ## MANY files (1000) wait in rounds while daemon, board and cable fail (some minutes)
	@$(INPROC_ENV) TOUCHMARK_MANY=$(MANY) TOUCHMARK_BIN="$(CURDIR)/$(BIN)" $(GO) test -count=1 -v -timeout 1h -tags $(EMULATED_TAGS) -run TestManyWait ./tests/e2e

systemd: setup build ## the daemon's unit under a systemd of Debian's in namespaces (as root, half a minute; fetches some 60 MB once)
	@tests/systemd/root.sh $(OUT)/systemd/root
	@$(INPROC_ENV) TOUCHMARK_SYSTEMD="$(CURDIR)/$(OUT)/systemd/root" TOUCHMARK_BIN="$(CURDIR)/$(BIN)" $(GO) test -count=1 -v -timeout 10m -tags $(EMULATED_TAGS),systemdtest ./tests/systemd

soak: setup build ## SOAK ceremonies (20000) with accidents in between: the auditor is content, nothing leaks
	@$(INPROC_ENV) TOUCHMARK_BIN="$(CURDIR)/$(BIN)" $(GO) test -count=1 -v -timeout 6h -tags $(EMULATED_TAGS) ./tests/soak -ceremonies $(SOAK) -seed 0

bench: setup build ## measurements into build/bench.json (QUICK=1: on smaller work, within a minute; HUGE=1: a log of 10^7 signatures too; ONLY=sign,ceremony,…: these groups of rows; image wants make image BOARD=qemu first; image-cold and image-test, which take minutes, are measured only if they are named)
	@$(if $(findstring image,$(ONLY)),$(MAKE) --no-print-directory touchmark-image)
	@$(if $(filter image,$(subst $(COMMA), ,$(ONLY))),$(MAKE) --no-print-directory tools PACKAGES="qemu-system-arm e2fsprogs libarchive-tools" && tests/bench/debian.sh $(OUT)/peer-arm64)
	@$(INPROC_ENV) $(GO) run -tags $(EMULATED_TAGS) ./tests/bench --bin $(BIN) --out $(OUT)/bench.json --image-cache $(IMAGE_CACHE) $(if $(filter 1,$(QUICK)),--quick) $(if $(filter 1,$(HUGE)),--huge) $(if $(ONLY),--only $(ONLY))

# Before Go 1.27 a run may fail although no input did, when the machine has other work as its time ends.
fuzz: ## every fuzz target for FUZZTIME (20s) each
	@$(INPROC_ENV) $(GO) list -tags $(EMULATED_TAGS) -f '{{.Dir}}' ./... | while read -r dir; do \
	  { grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$$dir"/*_test.go 2>/dev/null || true; } | awk '{print $$2}' | while read -r target; do \
	    echo "fuzz: $$target in $${dir#$(CURDIR)/}"; \
	    said=$$($(INPROC_ENV) $(GO) test -tags $(EMULATED_TAGS) -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1s "$$dir" </dev/null 2>&1 | tee >(cat >&2)) || \
	    { [[ "$$said" == *"    context deadline exceeded"* && "$$said" != *"Failing input"* ]] && echo "fuzz: $$target: no input failed; Go itself was late (go.dev/issue/75804)"; } || exit 1; \
	  done; done

clean: demo-down ## remove build/
	@rm -rf $(OUT)

# For people who run `go test` on one package: eval "$(make -s env)".
.PHONY: env
env:
	@echo 'export PKG_CONFIG_PATH="$(STUB)" CGO_CFLAGS="-O2 -g -DPCSC_INPROC" CGO_ENABLED=1 GOFLAGS="-tags=$(EMULATED_TAGS)"'
