# A static binary that runs as nobody in particular. The data directory is a volume: raft's identity must outlive the
# container.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=devel
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/failoverd ./cmd/failoverd \
 && mkdir -p /out/var/lib/failoverd /out/run/failoverd

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/failoverd /failoverd
COPY --from=build --chown=65532:65532 /out/var/lib/failoverd /var/lib/failoverd
COPY --from=build --chown=65532:65532 /out/run/failoverd /run/failoverd
USER 65532:65532
VOLUME /var/lib/failoverd
EXPOSE 7700 7780 7781
# Alive, not "has a quorum": an orchestrator that replaced nodes for lack of a quorum would reap the cluster in the
# middle of an incident. ECS ignores this line; repeat it in the task definition.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["/failoverd", "health"]
ENTRYPOINT ["/failoverd"]
CMD ["run"]
