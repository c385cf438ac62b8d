# syntax=docker/dockerfile:1
# Rendered from the recipe in e2e/src/image/recipe.rs; a test compares the two. The lab makes the same image
# without an engine and runs that. CI has no engine, so this file itself is not built there.
#
#   docker build --file Dockerfile --tag goproxy-operator:0.1.0 .

FROM rust:1.95-bookworm AS operator
WORKDIR /src
COPY . .
RUN RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked --package goproxy-operator --bin goproxy-operator --target x86_64-unknown-linux-gnu \
    && cp target/x86_64-unknown-linux-gnu/release/goproxy-operator /goproxy-operator

FROM scratch
COPY --from=operator --chmod=755 /goproxy-operator /goproxy-operator
COPY --chmod=644 <<"EOF" /etc/passwd
nonroot:x:65532:65532:nonroot:/nonexistent:/sbin/nologin
EOF
COPY --chmod=644 <<"EOF" /etc/group
nonroot:x:65532:
EOF
USER 65532:65532
WORKDIR /
ENTRYPOINT ["/goproxy-operator"]
