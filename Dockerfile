# The command `slaf` with the extra for Ray, on Debian: docker build --tag slaf .
FROM python:3.12-slim AS build
COPY . /source
RUN pip wheel --no-deps --wheel-dir /wheels /source

FROM python:3.12-slim
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir "$(ls /wheels/slaf-*.whl)[ray]" && rm -r /wheels \
    && useradd --create-home slaf
USER slaf
WORKDIR /data
ENTRYPOINT ["slaf"]
CMD ["--help"]
