"""python main.py FILE QUESTION: uploads the file, shows its progress, and searches.

Needs SUPABASE_URL, SUPABASE_KEY (the publishable key), EMAIL, PASSWORD and BUCKET in the
environment.
"""

import os
import sys
from pathlib import Path

from supabase import create_client

from docmill import describe, follow, search, upload

if len(sys.argv) != 3:
    sys.exit("usage: python main.py FILE QUESTION")
file, question = Path(sys.argv[1]), sys.argv[2]
client = create_client(os.environ["SUPABASE_URL"], os.environ["SUPABASE_KEY"])
session = client.auth.sign_in_with_password(
    {"email": os.environ["EMAIL"], "password": os.environ["PASSWORD"]}
)

# The folder that the bucket's policies let this user write to.
path = f"{session.user.id}/{file.name}"
bucket = os.environ.get("BUCKET", "documents")
uploaded = upload(client, bucket, path, file.read_bytes())
for job in follow(client, uploaded):
    print(describe(client, job), flush=True)

for hit in search(client, question, match_count=5):
    page = f", page {hit['page_start']}" if hit["page_start"] else ""
    print(f"\n{hit['score']:.2f} {hit['title'] or hit['object_name']}{page}")
    print("\n".join([*hit["headings"], hit["content"]]))
client.auth.sign_out()
