# The images of worker and operator:
#
#   docker build --target worker   --tag stockstream.dev/stockstream:0.1.0 .
#   docker build --target operator --tag stockstream.dev/stockstream-operator:0.1.0 .
#
# Both are FROM scratch: a static program and the certificates of the authorities that AWS is known by. No shell, no user but a
# number, nothing else that could need an update. `make images` makes the same without Docker; the suite `images` holds files,
# user, entry point and labels of the two against each other. They differ in this: Docker adds a PATH to the environment, and
# the certificates are Debian's here, and there those of the botocore that is pinned for the tests (both are Mozilla's list).
#
# For the same bytes each time (BuildKit 0.13 or later): a base image by digest, and times that don't come from the clock:
#
#   docker buildx build --target worker --build-arg SOURCE_DATE_EPOCH=0 \
#       --output type=oci,dest=stockstream.tar,rewrite-timestamp=true .
#
# NOT TRIED as a whole, and not run in CI: neither CI nor where it was written has a Docker daemon. Tried were, by buildah, the
# context that .dockerignore leaves, and the last stages with programs that had been built before: files, modes, owners and
# configuration came out as those of `make images`. The compiling stage wasn't, nor was arm64 (--platform linux/arm64).

# The version of rust-toolchain.toml. Debian's release brings the C library that is linked in.
FROM docker.io/library/rust:1.95.0-bookworm AS build
# The toolchain that is there, instead of one with rustfmt and clippy, which the toolchain file asks for.
ENV RUSTUP_TOOLCHAIN=1.95.0
# Links the two programs statically.
ENV RUSTC_WRAPPER=/src/scripts/rustc.sh
WORKDIR /src
COPY . .
# The whole workspace is selected, as by scripts/build.sh: the same features of the same dependencies.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --workspace --release --locked --bin stockstream --bin stockstream-operator \
    && mkdir /out \
    && for program in stockstream stockstream-operator; do \
        strip -o "/out/$program" "target/release/$program" \
        && chmod 0755 "/out/$program" \
        && readelf --program-headers "/out/$program" >/tmp/headers \
        && ! grep INTERP /tmp/headers \
        || { echo "$program isn't static"; exit 1; }; \
    done

FROM scratch AS worker
LABEL org.opencontainers.image.title="stockstream"
LABEL org.opencontainers.image.description="Worker of Stockstream: Kinesis streams of stock ticks into one-minute Parquet rows"
LABEL org.opencontainers.image.version="0.1.0"
LABEL org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/stockstream /stockstream
WORKDIR /
USER 65532:65532
ENTRYPOINT ["/stockstream"]

FROM scratch AS operator
LABEL org.opencontainers.image.title="stockstream-operator"
LABEL org.opencontainers.image.description="Operator of Stockstream: looks after the StockStreams of a Kubernetes cluster"
LABEL org.opencontainers.image.version="0.1.0"
LABEL org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/stockstream-operator /stockstream-operator
WORKDIR /
USER 65532:65532
ENTRYPOINT ["/stockstream-operator"]
