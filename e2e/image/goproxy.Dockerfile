# syntax=docker/dockerfile:1
# Rendered from the recipe in e2e/src/image/recipe.rs; a test compares the two. The lab makes the same image
# without an engine and runs that. CI has no engine, so this file itself is not built there.
#
#   docker build --file e2e/image/goproxy.Dockerfile --tag goproxy:0.20.0 .

FROM golang:1.26-bookworm AS goproxy
WORKDIR /src
ENV CGO_ENABLED=0 GOFLAGS=-mod=readonly
COPY e2e/tools/goproxy/go.mod e2e/tools/goproxy/go.sum ./
RUN go mod download github.com/goproxy/goproxy \
    && date="$(go list -m -f '{{.Time.Format "2006-01-02T15:04:05Z07:00"}}' github.com/goproxy/goproxy)" \
    && go build -trimpath -ldflags "-s -w -X github.com/goproxy/goproxy/cmd/goproxy/internal.Version=v0.20.0" -o /out/goproxy github.com/goproxy/goproxy/cmd/goproxy \
    && cp -r "$(go list -m -f '{{.Dir}}' github.com/goproxy/goproxy)" /out/source

FROM debian:bookworm-slim
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends ca-certificates dash git libc-bin openssh-client tini tzdata \
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
COPY --from=goproxy --chmod=644 /usr/local/go/VERSION /usr/local/go/VERSION
COPY --from=goproxy --chmod=755 /usr/local/go/bin/go /usr/local/go/bin/go
COPY --from=goproxy --chmod=644 /usr/local/go/go.env /usr/local/go/go.env
COPY --from=goproxy --chmod=755 /out/goproxy /usr/local/bin/goproxy
COPY --chmod=644 <<"EOF" /etc/passwd
root:x:0:0:root:/root:/bin/sh
goproxy:x:1000:1000:goproxy:/home/goproxy:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
EOF
COPY --chmod=644 <<"EOF" /etc/group
root:x:0:
goproxy:x:1000:
nogroup:x:65534:
EOF
RUN install --directory --mode=755 --owner=1000 --group=1000 /home/goproxy
RUN install --directory --mode=1777 --owner=0 --group=0 /tmp
ENV PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
ENV GOROOT=/usr/local/go
USER 1000:1000
EXPOSE 8080
WORKDIR /home/goproxy
ENTRYPOINT ["/usr/bin/tini","--"]
CMD ["goproxy","server","--address",":8080"]
