"""One bucket seen from both sides of the proxy: by a client that goes through it, and as it really is."""

from botocore.exceptions import ClientError

from tests.faults.store import s3_client

# moto keeps unsigned requests from objects that are there; a signature that nobody checks is enough.
SIGNATURE = "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request, Signature=b"


class ProxiedBucket:
    """A bucket through the proxy, and the same bucket as it really is."""

    def __init__(self, bucket, proxy, direct):
        self.bucket, self.proxy, self.direct = bucket, proxy, direct
        self.client = s3_client(proxy.endpoint, read_timeout_s=5)

    def put(self, key="k", body=b"body", *, client=None, **more):
        """The status that a PUT through the proxy gets."""
        try:
            return self._status((client or self.client).put_object(Bucket=self.bucket, Key=key, Body=body, **more))
        except ClientError as error:
            return self._status(error.response)

    def get(self, key="k", **more):
        """The object through the proxy."""
        return self.client.get_object(Bucket=self.bucket, Key=key, **more)["Body"].read()

    def keys(self):
        """What is really there."""
        return [item["Key"] for item in self.direct.list_objects_v2(Bucket=self.bucket).get("Contents", [])]

    def body(self, key="k"):
        """The bytes that are really there."""
        return self.direct.get_object(Bucket=self.bucket, Key=key)["Body"].read()

    def pages(self):
        """A listing through the proxy: the keys of every page."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        return [[item["Key"] for item in page.get("Contents", [])] for page in pages]

    @staticmethod
    def _status(response):
        return response["ResponseMetadata"]["HTTPStatusCode"]
