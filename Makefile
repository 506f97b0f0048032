# Targets for people and for CI; `make` alone lists them. Everything is made below target/, fixtures below
# $SYSCTR_TEST_CACHE (else /var/cache/sysctr).
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PREFIX ?= /usr
CARGO ?= cargo
HOST := $(shell rustc -vV | sed -n 's/^host: //p')
RUSTLIB := $(shell rustc --print sysroot)/lib/rustlib
# The launcher's: musl where Rust's library for it is installed (docs/decisions.md, "What a start costs").
MUSL := $(HOST:%-gnu=%-musl)
TRIPLE ?= $(if $(wildcard $(RUSTLIB)/$(MUSL)/lib),$(MUSL),$(HOST))
CARGO_HOME_DIR := $(if $(CARGO_HOME),$(CARGO_HOME),$(HOME)/.cargo)
# No path of the build machine may reach a binary, neither by Rust nor by the C in it.
REMAP := --remap-path-prefix=$(CARGO_HOME_DIR)=/cargo --remap-path-prefix=$(CURDIR)=/sysctr
export CFLAGS := -ffile-prefix-map=$(CARGO_HOME_DIR)=/cargo -ffile-prefix-map=$(CURDIR)=/sysctr
# Symbols stay in target/, where `make walls` looks at them; target/dist/ has the stripped copies.
UNSTRIPPED := --config 'profile.release.strip="none"'
COMPOSER := target/release/sysctr-compose
LAUNCHER := target/$(TRIPLE)/launcher/sysctr
# It writes zstd of level 3 at most; what only higher ones need stays out, and all but one form of each decoder.
LAUNCHER_CFLAGS := $(CFLAGS) $(patsubst %,-DZSTD_EXCLUDE_%_BLOCK_COMPRESSOR,GREEDY LAZY LAZY2 BTLAZY2 BTOPT BTULTRA) \
  -DDYNAMIC_BMI2=0 -DHUF_FORCE_DECOMPRESS_X1 -DZSTD_FORCE_DECOMPRESS_SEQUENCES_SHORT
# Rust's own linker knows on this machine how to make it smaller (docs/decisions.md, "Four megabytes").
LINKER := $(wildcard $(RUSTLIB)/x86_64-unknown-linux-gnu/bin/gcc-ld)
ifneq ($(LINKER),)
SMALLER := -C link-arg=-B$(LINKER) -C link-arg=-fuse-ld=lld -C link-arg=-Wl,--icf=all,--pack-dyn-relocs=relr,--no-eh-frame-hdr,-T,$(CURDIR)/src/host/no-unwind.ld
endif
STEP := bash tests/setup/step.sh
FIXTURES := root hello payload whiteouts odd nginx built many ostree-host hook-images mkosi system-images selinux \
  ostree-big ostree-ed25519 exports-images uml boot-trixie

.PHONY: help
help:
	@sed -n 's/^## //p' $(firstword $(MAKEFILE_LIST))

## make setup      install the Debian packages that build, tests and demo need and that are missing (root)
.PHONY: setup
setup:
	@bash tests/setup/setup.sh

## make build      both programs, release, into target/dist/: sysctr-compose, and sysctr as a static binary
.PHONY: build
build:
	@$(STEP) "build sysctr-compose (release)" env RUSTFLAGS="$(REMAP)" \
	  $(CARGO) build --locked --release $(UNSTRIPPED) -p sysctr-compose
	@$(STEP) "build sysctr (release, static, $(TRIPLE))" env CFLAGS="$(LAUNCHER_CFLAGS)" CC_$(subst -,_,$(MUSL))=musl-gcc \
	  RUSTFLAGS="-C target-feature=+crt-static $(SMALLER) $(REMAP)" \
	  $(CARGO) build --locked --profile launcher $(UNSTRIPPED) -p sysctr --target $(TRIPLE)
	@mkdir -p target/dist
	@for program in $(COMPOSER) $(LAUNCHER); do \
	  strip -s -o "target/dist/.$${program##*/}" "$$program"; \
	  mv "target/dist/.$${program##*/}" "target/dist/$${program##*/}"; \
	done

## make install    both programs, their units, man pages, completions and documents below $(DESTDIR)$(PREFIX)
.PHONY: install
install: build install-files
	install -D -m 0755 -t "$(DESTDIR)$(PREFIX)/bin" target/dist/sysctr-compose target/dist/sysctr
	install -d "$(DESTDIR)$(PREFIX)/lib/systemd/system-generators"
	ln -sfn ../../../bin/sysctr "$(DESTDIR)$(PREFIX)/lib/systemd/system-generators/sysctr-generator"

# All of it but the programs.
.PHONY: install-files
install-files:
	install -D -m 0644 -t "$(DESTDIR)$(PREFIX)/lib/systemd/system" src/host/files/sysctr-update.*
	install -D -m 0644 -t "$(DESTDIR)$(PREFIX)/lib/systemd/system-preset" src/host/files/50-sysctr.preset
	install -D -m 0644 -t "$(DESTDIR)$(PREFIX)/lib/tmpfiles.d" src/host/files/sysctr.conf
	install -D -m 0644 -t "$(DESTDIR)$(PREFIX)/share/man/man1" docs/man/*.1
	install -D -m 0644 -t "$(DESTDIR)$(PREFIX)/share/bash-completion/completions" docs/completions/bash/*
	install -D -m 0644 -t "$(DESTDIR)$(PREFIX)/share/zsh/site-functions" docs/completions/zsh/*
	install -D -m 0644 -t "$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d" docs/completions/fish/*
	install -D -m 0644 -t "$(DESTDIR)$(PREFIX)/share/doc/sysctr" README.md CHANGELOG.md SECURITY.md LICENSE-* docs/*.md
	install -D -m 0644 -t "$(DESTDIR)$(PREFIX)/share/doc/sysctr/manifests" $(wildcard manifests/*.*)
	cp -RT --preserve=mode manifests/hooks "$(DESTDIR)$(PREFIX)/share/doc/sysctr/manifests/hooks"

## make manual     write docs/man and docs/completions anew from the programs' definitions
.PHONY: manual
manual:
	@$(STEP) "manual" $(CARGO) run --locked -q -p sysctr-tests --bin manual

## make demo       compose two real images into a Debian root and run them from their units' own command lines (root)
.PHONY: demo
demo: setup
	@$(MAKE) -j2 build fixtures-demo
	@bash tests/demo.sh

## make test       everything that must be right: format, lints, documents, walls, all tests, the demo (root)
.PHONY: test
test: setup
	@$(MAKE) -j3 build lint fixtures
	@$(MAKE) walls tier1
	@$(MAKE) -j2 tier2 boots
	@bash tests/demo.sh

.PHONY: lint fmt clippy docs
lint: fmt clippy docs
fmt:
	@$(STEP) "format" $(CARGO) fmt --all --check
clippy: fmt
	@$(STEP) "clippy" $(CARGO) clippy --locked --workspace --all-targets --all-features -- -D warnings
docs: clippy
	@$(STEP) "documentation" env RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --all-features

## make walls      the launcher is static and free of what only the composer needs; no build paths
.PHONY: walls
walls: build
	@$(STEP) "walls" bash tests/setup/walls.sh $(LAUNCHER) $(COMPOSER)

## make tier1      tests that need neither root nor network
.PHONY: tier1
tier1:
	@$(STEP) --show "tests without root (tier 1)" $(CARGO) test --locked --no-fail-fast

## make tier2      tests with real runtimes, systemd and images (root; after make build)
.PHONY: tier2
tier2: build
	@$(STEP) --show "tests with real parts (tier 2)" $(CARGO) test --locked --no-fail-fast -p sysctr-tests

## make boots      of boot-test what `make test` runs: a host of Debian 13 from its first boot to its sixth, ten power cuts (root)
.PHONY: boots
BOOT_TESTS := $(CARGO) test --locked --no-fail-fast -p sysctr-tests --test machines -- --include-ignored
# No clock decides in these; in others one may on a machine that is far too slow, so these get what the others leave.
boots: build
	@$(STEP) "boots of real hosts" nice $(BOOT_TESTS) debian_13_crun after_each_power_cut

## make boot-test  hosts of Debian packages, composed into and booted from disks of their own by user-mode Linux, all of them (root)
.PHONY: boot-test boot-fixtures boot-table boot-shell
# BOOT="debian_12 cuts" for some of it.
BOOT ?=
boot-fixtures:
	@$(STEP) "fixtures of boots" bash fixtures/make.sh uml boot-bookworm boot-trixie boot-forky boot-selinux boot-kernel hello nginx payload exports-images
boot-test: setup
	@$(MAKE) -j2 build boot-fixtures
	@$(BOOT_TESTS) --list $(BOOT) | grep ': test$$' >/dev/null || { echo "boot-test: no test is called so: BOOT=$(BOOT)" >&2; exit 1; }
	@$(STEP) --show "boots of real hosts" $(BOOT_TESTS) $(BOOT)

## make boot-table docs/boot.md's table, from the reports that boot-test left
boot-table:
	@bash tests/boot/table.sh

## make boot-shell the demo's containers in a host of Debian packages, on a disk of its own; logs in on this terminal (root)
boot-shell: setup
	@$(MAKE) -j2 build boot-fixtures
	@bash tests/boot/shell.sh

## make soak       the long forms of tests that kill (SYSCTR_SEED=N repeats a run): at every call, at 100 moments (root)
.PHONY: soak
soak: build fixtures
	@$(STEP) --show "kills, long form" env SYSCTR_SOAK=1 $(CARGO) test --locked --no-fail-fast -p sysctr-tests \
	  --test kills --test commit --test registry --test updates -- --nocapture
	@$(MAKE) boot-fixtures
	@$(STEP) --show "power cuts, long form" env SYSCTR_SOAK=1 $(BOOT_TESTS) --nocapture cuts

## make bench      how fast the programs are beside others: ratios of medians (BENCH="fetch" for some, ROUNDS=N; root)
.PHONY: bench
BENCH ?=
ROUNDS ?= 3
bench: build
	@$(CARGO) build --locked -q -p sysctr-tests --bin bench
	@target/debug/bench --rounds $(ROUNDS) $(BENCH)

## make fixtures   the roots and images that tests use, as far as the cache lacks them (root)
.PHONY: fixtures fixtures-demo
fixtures:
	@$(STEP) "fixtures" bash fixtures/make.sh $(FIXTURES)
fixtures-demo:
	@$(STEP) "fixtures of the demo" bash fixtures/make.sh root hello nginx

## make clean      remove target/; the fixtures' cache stays
.PHONY: clean
clean:
	$(CARGO) clean
