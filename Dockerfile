# The command `slaf` with the extras for buckets and Ray, on Debian: docker build --tag slaf .
# The first stage has a C compiler, which the slim one lacks.
FROM python:3.12 AS build
COPY . /source
RUN pip wheel --no-deps --wheel-dir /wheels /source

FROM python:3.12-slim
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir "$(ls /wheels/slaf-*.whl)[cloud,ray]" && rm -r /wheels \
    && useradd --create-home slaf
USER slaf
WORKDIR /data
ENTRYPOINT ["slaf"]
CMD ["--help"]
