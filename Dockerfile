# The image: the binary and the libraries it is linked to, nothing else; no shell, no root user, no writable path.
#
# The tags name versions but can be overwritten; pin them by digest if your builds must be reproducible.

FROM rust:1.89.0-bookworm AS build
WORKDIR /src
COPY . .
# The optimized profile, and an OpenSSL inside the binary, although the build image has one.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    FUNNELWATCH_OPENSSL=vendored cargo build --profile dist --locked --bin funnelwatch \
    && cp target/dist/funnelwatch /funnelwatch

# `ldd` lists libc, libm and libgcc_s; cc contains all of them, from the same Debian release as the build. OpenSSL,
# librdkafka, lz4, zstd and the time zones are linked into the binary. The base has the CA certificates for TLS to
# brokers. `tests/manifests/image` runs the binary in a root file system with these libraries and nothing else.
FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="funnelwatch" \
      org.opencontainers.image.description="Real-time supervisor of sales departments" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /funnelwatch /usr/local/bin/funnelwatch
# Numeric, because Kubernetes cannot verify that a user name is not root.
USER 65532:65532
EXPOSE 9464
ENTRYPOINT ["/usr/local/bin/funnelwatch"]
CMD ["run", "--config", "/etc/funnelwatch/funnelwatch.yaml"]
