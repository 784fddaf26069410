# Plumbline in three stages: `build` compiles, `tester` adds what ./tests/run needs, `runtime` is what compose.yaml runs.
FROM debian:12 AS build
RUN apt-get update && apt-get install -y --no-install-recommends \
    ca-certificates cmake ninja-build gcc g++ libc6-dev pkg-config libcurl4-openssl-dev liblua5.4-dev libpq-dev \
    librdkafka-dev libsimdjson-dev libsqlite3-dev libyaml-dev python3 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cmake -S . -B build -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DPL_TESTS=OFF -DCMAKE_INSTALL_PREFIX=/usr/local \
    && cmake --build build \
    && DESTDIR=/out cmake --install build --strip

# `git ls-files` tells the tests which files are sources, so there has to be a repository.
FROM build AS tester
RUN apt-get update && apt-get install -y --no-install-recommends git && rm -rf /var/lib/apt/lists/* \
    && git init -q . && git add -A
CMD ["./tests/run", "integration"]

FROM debian:12-slim AS runtime
RUN apt-get update && apt-get install -y --no-install-recommends \
    ca-certificates libcurl4 libpq5 librdkafka1 libsimdjson14 libsqlite3-0 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /out/usr/local /usr/local
COPY tests/compose/healthy.sh /usr/local/bin/plumbline-healthy
RUN useradd --system --uid 10001 --home-dir /var/lib/plumbline --create-home plumbline \
    && chmod 0755 /usr/local/bin/plumbline-healthy
USER plumbline
# State and the files that a pipeline names by a relative path; the pipelines are in /usr/local/share/plumbline.
ENV STATE_DIRECTORY=/var/lib/plumbline
WORKDIR /var/lib/plumbline
ENTRYPOINT ["plumbline"]
CMD ["--help"]
