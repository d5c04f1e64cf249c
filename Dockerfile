# Owns the image: the binary and what it is linked to, nothing else; no shell, no root, nothing that is written to.
#
# The tags name versions but can be pushed anew; pin them by digest where your builds must be repeatable.

FROM rust:1.89.0-bookworm AS build
WORKDIR /src
COPY . .
# Names of functions stay, for backtraces; line tables go: 110 MB become 22.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    CARGO_PROFILE_RELEASE_DEBUG=0 cargo build --release --locked --bin funnelwatch \
    && cp target/release/funnelwatch /funnelwatch

# `ldd` names libc, libm and libgcc_s, all of which cc has, from the Debian that it was built on. OpenSSL, librdkafka, lz4,
# zstd and the time zones are inside the binary. The base has the CAs that TLS to brokers is checked against.
# `tests/cluster/image` runs the binary in a root that has these libraries and nothing more.
FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="funnelwatch" \
      org.opencontainers.image.description="Real-time supervisor of sales departments" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /funnelwatch /usr/local/bin/funnelwatch
# A number, for Kubernetes cannot tell of a name that it is not root.
USER 65532:65532
EXPOSE 9464
ENTRYPOINT ["/usr/local/bin/funnelwatch"]
CMD ["run", "--config", "/etc/funnelwatch/funnelwatch.yaml"]
