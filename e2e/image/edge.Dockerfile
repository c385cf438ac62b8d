# syntax=docker/dockerfile:1
# Rendered from the recipe in e2e/src/image/recipe.rs; a test compares the two. The lab makes the same image
# without an engine and runs that. CI has no engine, so this file itself is not built there.
#
#   docker build --file e2e/image/edge.Dockerfile --tag goproxy-edge:0.1.0 .

FROM rust:1.95-bookworm AS operator
WORKDIR /src
COPY . .
RUN RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked --package goproxy-operator --bin goproxy-operator --target x86_64-unknown-linux-gnu \
    && cp target/x86_64-unknown-linux-gnu/release/goproxy-operator /goproxy-operator

FROM debian:trixie-slim
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends ca-certificates libnginx-mod-http-lua lua-resty-core lua-resty-lrucache nginx \
    && rm -rf /var/lib/apt/lists/* \
        /usr/bin/perl \
        /usr/bin/perl5.36.0 \
        /usr/lib/x86_64-linux-gnu/perl \
        /usr/lib/x86_64-linux-gnu/perl-base \
        /usr/share/perl \
        /usr/share/perl5 \
        /usr/share/doc \
        /usr/share/info \
        /usr/share/lintian \
        /usr/share/locale \
        /usr/share/man
COPY --from=operator --chmod=755 /goproxy-operator /usr/local/bin/goproxy-operator
COPY --chmod=644 <<"EOF" /etc/passwd
nonroot:x:65532:65532:nonroot:/nonexistent:/sbin/nologin
EOF
COPY --chmod=644 <<"EOF" /etc/group
nonroot:x:65532:
EOF
RUN install --directory --mode=755 --owner=65532 --group=65532 /run/edge
RUN install --directory --mode=755 --owner=65532 --group=65532 /var/cache/edge
RUN install --directory --mode=1777 --owner=0 --group=0 /tmp
ENV PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
USER 65532:65532
EXPOSE 8080
STOPSIGNAL SIGQUIT
WORKDIR /run/edge
ENTRYPOINT []
