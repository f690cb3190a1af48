# syntax=docker/dockerfile:1

# The build runs on the builder's own architecture and crosses over to the target's.
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG TARGETOS TARGETARCH
ARG VERSION=dev
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -buildvcs=false -ldflags="-s -w -X main.version=$VERSION" -o /out/gavel ./cmd/gavel \
    # A named volume takes its owner from the folder it is mounted on.
    && mkdir -p /out/journal

# No shell and no package manager; certificates and time zones are in it. User 65532.
FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/gavel /gavel
COPY --from=build --chown=nonroot:nonroot /out/journal /var/lib/gavel/journal
ENV GAVEL_JOURNAL_DIR=/var/lib/gavel/journal
# The journal holds accepted events until they are billed: it must outlive the container.
VOLUME /var/lib/gavel/journal
EXPOSE 8080 9090
STOPSIGNAL SIGTERM
ENTRYPOINT ["/gavel"]
CMD ["serve"]
